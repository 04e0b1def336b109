"""Purges a queue: cancels all tasks that wait in it."""

from collections.abc import Sequence
from functools import partial
from typing import Any
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
from shared.transport.events import Changes, Publisher, TaskChange

#: Maximum number of tasks that one request cancels.
MOST = 10_000
#: Number of tasks that are canceled per transaction. Their rows stay locked until it ends, for
#: about 0.1 s, and workers that claim them wait.
BATCH = 2_000


def check(queue: str, confirm: str) -> None:
    """Check that the request repeats the name of the queue as a confirmation. Raises InvalidFields."""
    if confirm != queue:
        raise InvalidFields([FieldProblem("confirm", f"must be the name of the queue, {queue}")])


async def purge(
    database: Database, tally: Tally, publisher: Publisher, queue: str, reason: str | None, reader: Reader
) -> QueuePurged:
    """Cancel the tasks that wait in the queue when the purge begins, at most MOST of them. Raises
    ServerUnavailable.

    If an error interrupts the purge, tasks that were already canceled stay canceled, and the audit
    log has their number.
    """
    rows = await database.run(operate.FIND_WAITING, queue=queue, limit=MOST + 1)
    ids = sorted(row["id"] for row in rows[:MOST])
    canceled = 0
    # A purge that finds no task is recorded in the audit log too
    for first in range(0, max(len(ids), 1), BATCH):
        changed = await _cancel(database, queue, ids[first : first + BATCH], reason, reader)
        for row in changed:
            tally.add(queue, row["name"], Status.REVOKED)
        publisher.soon(partial(_changes, changed))
        canceled += len(changed)
    return QueuePurged(queue, canceled, more=len(rows) > MOST)


async def _cancel(
    database: Database, queue: str, ids: Sequence[UUID], reason: str | None, reader: Reader
) -> list[dict[str, Any]]:
    """Cancel one batch of waiting tasks and return the changes. The same transaction records their
    number in the audit log.
    """
    async with database.short_transaction():
        rows = await database.run(operate.PURGE, queue=queue, ids=ids)
        actor, target, after = reader.describe(), Target("queue", queue), {"canceled": len(rows)}
        await trail.record(database, actor, Action.QUEUE_PURGED, target, after=after, reason=reason)
        return rows


def _changes(rows: Sequence[dict[str, Any]]) -> Changes:
    return Changes([TaskChange.from_row(row) for row in rows])
