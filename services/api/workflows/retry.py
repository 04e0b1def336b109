"""Lets failed tasks of workflows run again, unless a handler has already made up for the failure."""

from enum import StrEnum
from uuid import UUID

from services.api.http.refusals import HandlersRan, NothingToRetry
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.operate import RETRY_MEMBERS

#: Tasks of one statement.
BATCH = 2_000

#: Handlers of a workflow that have begun, except for the step that is to be retried.
BEGUN_HANDLERS = Statement("""
    SELECT name FROM workflow_step
    WHERE workflow = :id AND handler AND state NOT IN ('waiting', 'skipped')
      AND (:step::text IS NULL OR name <> :step::text) ORDER BY position
""")


class Handlers(StrEnum):
    """What becomes of handlers that have run."""

    KEEP = "keep"


async def refuse_handlers(
    database: Database, workflow_id: UUID, handlers: Handlers | None, *, step: str | None = None
) -> None:
    """Raises HandlersRan: what follows a refund must not be charged again without a person's word."""
    if handlers is None:
        rows = await database.run(BEGUN_HANDLERS, id=workflow_id, step=step)
        if rows:
            raise HandlersRan([row["name"] for row in rows])


async def retry(database: Database, workflow_id: UUID, reason: str, status: str) -> int:
    """Start what failed or was canceled again. Returns how many tasks. Raises NothingToRetry."""
    started, last = 0, BATCH
    while last == BATCH:
        last = len(await database.run(RETRY_MEMBERS, workflow=workflow_id, reason=reason, limit=BATCH))
        started += last
    if not started:
        raise NothingToRetry(status)
    return started
