"""Cancels workflows. If an operator or administrator does it, it is recorded in the audit log."""

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.workflows.schemas import WorkflowAnswer
from shared.ledger.database import Database
from shared.ledger.transitions.workflow import REQUEST_CANCEL


async def cancel(database: Database, flow: WorkflowAnswer, reader: Reader) -> bool:
    """Request the cancellation of a workflow. Returns False if it has already ended."""
    async with database.short_transaction():
        if not await database.run(REQUEST_CANCEL, id=flow.id):
            return False
        if reader.is_staff:
            before = {"status": flow.status, "name": flow.name, "owner": flow.owner}
            target = Target("workflow", flow.id)
            await trail.record(database, reader.describe(), Action.WORKFLOW_CANCELED, target, before=before)
        return True
