"""Cancels everything that waits in a queue."""

from datetime import UTC, datetime
from uuid import UUID

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.operations.schemas import QueuePurged
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.tally import Tally
from shared.ledger.transitions import operate

#: Tasks of one request. Their rows are locked until its end, about a second, and claims of them wait.
MOST = 10_000
#: Tasks of one statement.
BATCH = 2_000
#: Delayed tasks of all queues that one statement looks at.
STRETCH = 5_000
FIRST = {"after": datetime(1970, 1, 1, tzinfo=UTC), "last": UUID(int=0)}


def check(queue: str, confirm: str) -> None:
    """Raises InvalidFields."""
    if confirm != queue:
        raise InvalidFields([FieldProblem("confirm", f"must be the name of the queue, {queue}")])


async def purge(
    database: Database, tally: Tally, queue: str, reason: str | None, reader: Reader
) -> QueuePurged:
    """One row of the audit log says how many, in the transaction that cancels them."""
    async with database.short_transaction():
        names = await _sent(database, queue)
        more = len(names) >= MOST
        if not more:
            unsent, more = await _unsent(database, queue, MOST - len(names))
            names += unsent
        target, after = Target("queue", queue), {"canceled": len(names), "more": more}
        actor = reader.describe()
        await trail.record(database, actor, Action.QUEUE_PURGED, target, after=after, reason=reason)
    for name in names:
        tally.add(queue, name, Status.REVOKED)
    return QueuePurged(queue, len(names), more)


async def _sent(database: Database, queue: str) -> list[str]:
    """The names of canceled tasks."""
    names: list[str] = []
    last = BATCH
    while last == BATCH and len(names) < MOST:
        rows = await database.run(operate.PURGE_SENT, queue=queue, limit=BATCH)
        names += [row["name"] for row in rows]
        last = len(rows)
    return names


async def _unsent(database: Database, queue: str, most: int) -> tuple[list[str], bool]:
    """The names of canceled tasks, and whether more may wait."""
    names: list[str] = []
    position = FIRST
    while len(names) < most:
        (row,) = await database.run(operate.PURGE_UNSENT, queue=queue, limit=STRETCH, **position)
        names += row["names"]
        if row["looked_at"] < STRETCH:
            return names, False
        position = {"after": row["after"], "last": row["last"]}
    return names, True
