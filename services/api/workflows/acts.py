"""What people do to a workflow: cancel it, and let it run again. The audit log says what staff did."""

from enum import StrEnum
from uuid import UUID

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.workflows.refusals import HandlersRan, NothingToRetry, WorkflowEnding
from services.api.workflows.schemas import WorkflowAnswer
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.operate import RETRY_MEMBERS
from shared.ledger.transitions.workflow import REQUEST_CANCEL

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
    """Raises HandlersRan: what was made up for, as by a refund, must not happen again by accident."""
    if handlers is None:
        rows = await database.run(BEGUN_HANDLERS, id=workflow_id, step=step)
        if rows:
            raise HandlersRan([row["name"] for row in rows])


async def cancel(database: Database, flow: WorkflowAnswer, reader: Reader) -> bool:
    """Ask for the cancellation. False when the workflow has ended."""
    async with database.short_transaction():
        if not await database.run(REQUEST_CANCEL, id=flow.id):
            return False
        if reader.is_staff:
            await _record(database, reader, Action.WORKFLOW_CANCELED, flow)
        return True


async def retry(database: Database, flow: WorkflowAnswer, reader: Reader) -> int:
    """Start what failed or was canceled again. Returns how many tasks.

    Raises WorkflowEnding, or NothingToRetry.
    """
    if flow.completed_at is None and flow.cancel_requested_at is not None:
        raise WorkflowEnding
    async with database.short_transaction():
        started = last = await _retry_share(database, flow, reader)
        if not started:
            raise NothingToRetry(flow.status)
        await _record(database, reader, Action.WORKFLOW_RETRIED, flow)
    while last == BATCH:
        last = await _retry_share(database, flow, reader)
        started += last
    return started


async def _retry_share(database: Database, flow: WorkflowAnswer, reader: Reader) -> int:
    reason = f"retried by account {reader.id}"
    return len(await database.run(RETRY_MEMBERS, workflow=flow.id, reason=reason, limit=BATCH))


async def _record(database: Database, reader: Reader, action: Action, flow: WorkflowAnswer) -> None:
    before = {"status": flow.status, "name": flow.name, "owner": flow.owner}
    await trail.record(database, reader.describe(), action, Target("workflow", flow.id), before=before)
