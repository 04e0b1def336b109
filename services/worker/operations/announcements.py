"""Announces the changes that a bulk operation has committed.

Event streams learn of changed tasks, and workers learn of cancel requests.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shared import system
from shared.contracts.context import Sql
from shared.errors import ServerUnavailable
from shared.settings import Settings
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Queues, connect

log = logging.getLogger(__name__)


class Announcements:
    """Sends announcements through Redis. Use it only on the event loop of task bodies.

    If an announcement is lost, its receivers find the change in the tasks' rows later.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._publisher = Publisher(queues)

    async def join(self, database: Sql) -> None:
        """Find out to which system (installation) this process belongs. Call this before any other
        method.
        """
        await system.join(database, self._queues)

    async def say(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Announce changed tasks.

        The rows have the columns of `shared.ledger.transitions.changed`. If a worker has to cancel
        a task, the task's row also has the column `holder`.
        """
        self._publisher.soon(lambda: Changes([TaskChange.from_row(row) for row in rows]))
        await self._cancel([row["id"] for row in rows if row.get("holder")])

    async def _cancel(self, ids: Sequence[UUID]) -> None:
        try:
            await self._queues.announce_cancel(*ids)
        except ServerUnavailable:
            log.warning(
                "%d cancel requests could not be announced; workers learn of them with their next heartbeat",
                len(ids),
                exc_info=True,
            )


def gateways(settings: Settings) -> dict[type, Any]:
    return {Announcements: Announcements(Queues(connect(settings.redis_url)))}
