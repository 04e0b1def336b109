"""Advances workflows and does what follows the commit: push new tasks, announce canceled ones, count.

The owner of an `Advancer` also calls `mark`, within three seconds of a push. After that the dispatcher sends
the ids a second time.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.transitions.send import MARK_SENT
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Address, Queues
from shared.workflows.advance import Advanced, NewTask, advance

log = logging.getLogger(__name__)

#: Ids that are pushed and marked at a time.
PUSH = 2_000


class Advancer:
    """Used by workers right after they recorded an end, and by the leader for everything that is left."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues
        self._publisher = Publisher(queues)
        self._unmarked: list[UUID] = []

    async def advance(self, ids: Sequence[UUID]) -> Advanced:
        """Raises ServerUnavailable when Postgres is away. The dispatcher sends what Redis does not take."""
        with metrics.WORKFLOW_ADVANCE_SECONDS.time():
            advanced = await advance(self._database, ids)
        for status in advanced.ended:
            metrics.WORKFLOWS_FINISHED.labels(status).inc()
        count(advanced.tasks)
        if advanced.moved:
            self._publisher.soon(lambda: _changes(advanced))
        try:
            await self._push([task for task in advanced.tasks if task.direct])
            for task_id in advanced.held:
                await self._queues.announce_cancel(task_id)
        except ServerUnavailable as error:
            log.warning("%s; the dispatcher sends the new tasks of workflows", error)
        return advanced

    async def _push(self, tasks: Sequence[NewTask]) -> None:
        for first in range(0, len(tasks), PUSH):
            share = tasks[first : first + PUSH]
            await self._queues.push([Address(task.id, task.queue, task.priority) for task in share])
            self._unmarked += [task.id for task in share]

    async def mark(self) -> None:
        """Mark pushed ids, a moment later: most are claimed by then and need no mark.

        Ids that stay unmarked are sent twice and claimed once. Raises ServerUnavailable.
        """
        pushed, self._unmarked = sorted(self._unmarked), []
        for first in range(0, len(pushed), PUSH):
            ids = pushed[first : first + PUSH]
            await self._database.run(MARK_SENT, id=ids, claim=[0] * len(ids))


def new(tasks: Iterable[NewTask]) -> list[TaskChange]:
    """Tasks that were stored, as event streams show them."""
    return [
        TaskChange(
            task.id, 0, "pending", task.name, task.queue, task.owner, workflow=task.workflow, step=task.step
        )
        for task in tasks
    ]


def _changes(advanced: Advanced) -> Changes:
    cancelled = [TaskChange.from_row(row) for row in advanced.cancelled]
    return Changes([*new(advanced.tasks), *cancelled], workflows=advanced.moved)


def count(tasks: Iterable[NewTask]) -> None:
    """Count tasks that were stored, as submissions do."""
    for labels, number in Counter((task.queue, task.name) for task in tasks).items():
        metrics.SUBMITTED.labels(*labels).inc(number)
