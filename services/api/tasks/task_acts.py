"""What people do to a task: cancel it, change it, let it run now or again. What staff do is recorded."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.operations.refusals import MustRunAlone
from services.api.tasks.edits import Edit
from services.api.tasks.schemas import TaskRetryBody
from services.api.workflows.retries import Retries
from shared.ledger.database import Database
from shared.ledger.lifecycle import ErrorKind
from shared.ledger.queue_control import PAUSED
from shared.ledger.statement import Statement
from shared.ledger.transitions import operate

PAUSES = Statement(f"SELECT {PAUSED}")


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
    database: Database,
    retries: Retries,
    task: Mapping[str, Any],
    edit: Edit,
    body: TaskRetryBody,
    reader: Reader,
) -> dict[str, Any] | None:
    """Returns what RETRY does; None when the task has not ended, or has succeeded.

    `edit` is what was checked of `body`. Raises what `Retries.choose_for_task` raises when the task belongs
    to a workflow.
    """
    async with database.short_transaction():
        workflow, choice = task["workflow"], None
        if workflow is not None:
            choice = await retries.choose_for_task(workflow, task["step"], body.handlers)
        values = {"reason": f"retried by account {reader.id}", "delay_s": body.delay_s, **edit.values}
        rows = await database.run(operate.RETRY, id=task["id"], **values)
        if not rows:
            return None
        if choice is not None:
            await retries.note(workflow, choice)
        before = {"status": rows[0]["former_status"]}
        after = {"status": rows[0]["status"], **edit.shown}
        if choice is not None:
            after["handlers"] = body.handlers
        await _record(database, task, Action.TASK_RETRIED, reader, before, after, edit.reason)
        return rows[0]


async def release(
    database: Database, task: Mapping[str, Any], reason: str | None, reader: Reader
) -> dict[str, Any] | None:
    """Returns what RELEASE does; None when the task is in no crash loop."""
    async with database.short_transaction():
        values = {"reason": f"released by account {reader.id}", "crash_loop": ErrorKind.CRASH_LOOP}
        rows = await database.run(operate.RELEASE, id=task["id"], **values)
        if not rows:
            return None
        before, after = {"crashes": rows[0]["crashes"]}, {"status": rows[0]["status"]}
        await _record(database, task, Action.TASK_RELEASED, reader, before, after, reason)
        return rows[0]


async def change(
    database: Database, task: Mapping[str, Any], edit: Edit, send_at: datetime | None, reader: Reader
) -> dict[str, Any] | None:
    """Returns what EDIT does; None when the task does not wait."""
    async with database.short_transaction():
        rows = await database.run(operate.EDIT, id=task["id"], send_at=send_at, **edit.values)
        if not rows:
            return None
        row = rows[0]
        if reader.is_staff:  # users change their own tasks only
            before = {name: row[f"former_{name}"] for name in ("queue", "priority", "send_at")}
            after = {**edit.shown, **({"send_at": send_at} if send_at else {})}
            before = {name: value for name, value in before.items() if name in after}
            await _record(database, task, Action.TASK_CHANGED, reader, before, after, edit.reason)
        return row


async def run_now(
    database: Database, task: Mapping[str, Any], reader: Reader, *, past_pause: bool, reason: str | None
) -> dict[str, Any] | None:
    """Returns what RUN_NOW does, and whether the queue is paused.

    None when the task does not wait.
    """
    async with database.short_transaction():
        rows = await database.run(operate.RUN_NOW, id=task["id"])
        if not rows:
            return None
        row = rows[0]
        (control,) = await database.run(PAUSES)
        row["paused"] = row["queue"] in control["paused"]
        if past_pause and row["paused"] and row["suspect"]:
            raise MustRunAlone
        after = {"past_pause": past_pause and row["paused"]}
        before = {"send_at": row["former_send_at"]}
        await _record(database, task, Action.TASK_RUN_NOW, reader, before, after, reason)
        return row


async def _record(
    database: Database,
    task: Mapping[str, Any],
    action: Action,
    reader: Reader,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str | None,
) -> None:
    shown = {**after, "name": task["name"], "owner": task["owner"]}
    target = Target("task", task["id"])
    await trail.record(database, reader.describe(), action, target, before=before, after=shown, reason=reason)


async def _cancelled(database: Database, task: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = await database.run(operate.CANCEL, id=task["id"])
    return rows[0] if rows else None
