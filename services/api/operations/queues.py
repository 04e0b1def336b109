"""Reads and controls queues for operators.

The decisions of operators are stored as rows. Workers learn of them by a message or with their next
heartbeat.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from services.api import after_commit
from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.operations.refusals import QueueNeverPaused, QueueNotFound
from services.api.operations.schemas import Pause, QueueAnswer, QueuePaused, QueueResumed
from shared.backlog import LIMIT, Backlog, Waiting
from shared.contracts.catalogue import Catalogue
from shared.errors import ServerUnavailable
from shared.ledger import queue_control
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport import control
from shared.transport.control import LookUp
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

#: Counts the workers of each queue, using the index of living workers.
SERVED = Statement("""
    SELECT unnest(queues) AS queue, count(*)::int AS workers FROM worker
    WHERE dead_at IS NULL AND stopped_at IS NULL GROUP BY 1
""")


class QueueControls:
    """Lists, pauses and resumes queues for the routes of the API and the pages of the console."""

    def __init__(self, database: Database, queues: Queues, catalogue: Catalogue) -> None:
        self._database = database
        self._queues = queues
        self._contracts = catalogue.queues
        self._backlog = Backlog(database, queues)

    async def all(self) -> list[QueueAnswer]:
        """All known queues, by name. Raises ServerUnavailable."""
        workers, pauses = await self._workers(), await self._pauses()
        waiting = await self._backlog.read(self._known(workers, pauses))
        return [_answer(name, each, pauses.get(name), workers) for name, each in waiting.items()]

    async def find(self, queue: str) -> QueueAnswer:
        """Return one queue. Raises QueueNotFound or ServerUnavailable."""
        workers, pauses = await self._workers(), await self._pauses()
        _require(queue, self._known(workers, pauses))
        waiting = await self._backlog.read([queue])
        return _answer(queue, waiting[queue], pauses.get(queue), workers)

    async def known(self) -> list[str]:
        """The names of all queues that a contract names, a worker serves, or an operator has ever
        paused.
        """
        return self._known(await self._workers(), await self._pauses())

    async def require(self, queue: str) -> None:
        """Raise QueueNotFound if the queue is unknown."""
        if queue not in self._contracts:
            _require(queue, await self.known())

    async def pause(self, queue: str, reason: str, reader: Reader) -> QueuePaused:
        """Pause a queue. Raises QueueNeverPaused or QueueNotFound."""
        if queue in queue_control.NEVER_PAUSED:
            raise QueueNeverPaused(queue)
        await self.require(queue)
        async with self._database.short_transaction():
            (row,) = await self._database.run(
                queue_control.PAUSE, queue=queue, account=reader.id, reason=reason
            )
            before = {"paused_at": row["former_paused_at"], "reason": row["former_reason"]}
            after = {"paused_at": row["paused_at"]}
            await self._record(Action.QUEUE_PAUSED, queue, reader, before=before, after=after, reason=reason)
        within = await self._announce(queue)
        expiring, first = await self._expiring(queue)
        deadlines = "Deadlines are not extended: tasks that expire meanwhile fail."
        message = f"Workers stop starting its tasks {within}. {deadlines}"
        return QueuePaused(queue, _pause(row), expiring, first, message)

    async def resume(self, queue: str, reason: str | None, reader: Reader) -> QueueResumed:
        """Resume a queue. A queue that is not paused stays unchanged. Raises QueueNotFound."""
        await self.require(queue)
        async with self._database.short_transaction():
            rows = await self._database.run(queue_control.RESUME, queue=queue)
            if rows:
                before = {"paused_at": rows[0]["paused_at"], "reason": rows[0]["reason"]}
                after = {"paused_at": None}
                await self._record(
                    Action.QUEUE_RESUMED, queue, reader, before=before, after=after, reason=reason
                )
        within = await self._announce(queue)
        if not rows:
            return QueueResumed(queue, None, "The queue was not paused.")
        return QueueResumed(queue, _pause(rows[0]), f"Its tasks start again {within}.")

    async def _announce(self, queue: str) -> str:
        """Tell the workers that an operator changed a queue. Returns a text that says when they
        will follow the decision.
        """
        late = "workers learn of the decision with their next heartbeat"
        hinted = await after_commit.given(control.announce(self._queues, LookUp()), late, queue=queue)
        return "within a second" if hinted else "within two seconds, because Redis is unavailable"

    async def _expiring(self, queue: str) -> tuple[int | None, datetime | None]:
        """Count the waiting tasks of a queue that have a deadline, and find the earliest deadline.
        Returns None if they could not be counted in time.
        """
        try:
            (found,) = await self._database.run(queue_control.EXPIRING, queue=queue, limit=LIMIT)
        except ServerUnavailable as error:
            text = "the queue was paused, but its tasks with a deadline could not be counted"
            log.warning(text, exc_info=error, extra={"queue": queue})
            return None, None
        return found["expiring"], found["first"]

    async def _record(self, action: Action, queue: str, reader: Reader, **values: Any) -> None:
        """Record an operator's action on a queue in the audit log. `values` are passed on to
        `trail.record`.
        """
        await trail.record(self._database, reader.describe(), action, Target("queue", queue), **values)

    async def _workers(self) -> dict[str, int]:
        return {row["queue"]: row["workers"] for row in await self._database.run(SERVED)}

    async def _pauses(self) -> dict[str, Pause | None]:
        rows = await self._database.run(queue_control.CONTROLS)
        return {row["queue"]: _pause(row) if row["paused_at"] else None for row in rows}

    def _known(self, *more: Iterable[str]) -> list[str]:
        return sorted({*self._contracts, *(name for names in more for name in names)})


def _require(queue: str, known: list[str]) -> None:
    if queue not in known:
        raise QueueNotFound(queue, known)


def _pause(row: Mapping[str, Any]) -> Pause:
    return Pause(row["paused_at"], row["paused_by"], row["reason"])


def _answer(queue: str, waiting: Waiting, paused: Pause | None, workers: Mapping[str, int]) -> QueueAnswer:
    return QueueAnswer(
        queue=queue,
        waiting=sum(waiting.depth.values()),
        depth=dict(waiting.depth),
        oldest_age_s=waiting.oldest_age_s,
        due_later=waiting.later,
        paused=paused,
        may_pause=queue not in queue_control.NEVER_PAUSED,
        workers=workers.get(queue, 0),
    )
