"""What people do to a task: cancel it, and let it run again. What staff do is recorded in the audit log."""

from collections.abc import Mapping
from typing import Any

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.workflows.retries import Retries
from services.api.workflows.schemas import TaskRetryBody
from shared.ledger.database import Database
from shared.ledger.transitions import operate


async def cancel(database: Database, task: Mapping[str, Any], reader: Reader) -> dict[str, Any] | None:
    """Returns what CANCEL does; None when the task has ended."""
    if not reader.is_staff:  # users cancel their own tasks only
        return await _cancelled(database, task)
    async with database.short_transaction():
        row = await _cancelled(database, task)
        if row is not None:
            after = {"status": row["status"], "name": task["name"], "owner": task["owner"]}
            target = Target("task", task["id"])
            await trail.record(database, reader.describe(), Action.TASK_CANCELED, target, after=after)
        return row


async def retry(
    database: Database, retries: Retries, task: Mapping[str, Any], body: TaskRetryBody, reader: Reader
) -> dict[str, Any] | None:
    """Returns what RETRY does; None when the task has not ended, or has succeeded.

    Raises what `Retries.choose_for_task` raises when the task belongs to a workflow.
    """
    async with database.short_transaction():
        workflow, choice = task["workflow"], None
        if workflow is not None:
            choice = await retries.choose_for_task(workflow, task["step"], body.handlers)
        reason = f"retried by account {reader.id}"
        rows = await database.run(operate.RETRY, id=task["id"], reason=reason)
        if not rows:
            return None
        if choice is not None:
            await retries.note(workflow, choice)
        before = {"status": rows[0]["former_status"]}
        after = {"status": rows[0]["status"], "name": task["name"], "owner": task["owner"]}
        if choice is not None:
            after["handlers"] = body.handlers
        await trail.record(
            database,
            reader.describe(),
            Action.TASK_RETRIED,
            Target("task", task["id"]),
            before=before,
            after=after,
            reason=body.reason,
        )
        return rows[0]


async def _cancelled(database: Database, task: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = await database.run(operate.CANCEL, id=task["id"])
    return rows[0] if rows else None
