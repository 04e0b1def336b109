"""Changes one task in the ledger: cancels it, edits it, runs it now, or runs it again.

Actions of operators and administrators are recorded in the audit log in the same transaction.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.identity.rights import Reader
from services.api.tasks.edits import Edit
from services.api.tasks.refusals import MustRunAlone, ParamsChanged
from services.api.tasks.schemas import TaskRetryBody
from services.api.workflows.retries import Retries
from shared.ledger.database import Database
from shared.ledger.lifecycle import ErrorKind
from shared.ledger.queue_control import PAUSED
from shared.ledger.statement import Statement
from shared.ledger.transitions import operate

PAUSES = Statement(f"SELECT {PAUSED}")
LOCKED_PARAMS = Statement("SELECT params FROM task WHERE id = :id FOR UPDATE")


async def cancel(database: Database, task: Mapping[str, Any], reader: Reader) -> dict[str, Any] | None:
    """Cancel a task.

    Returns the result row of the statement CANCEL, or None if the task has already ended.
    """
    if not reader.is_staff:  # Users cancel only their own tasks, which is not audited
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
    """Retry a task.

    `edit` is the checked form of the changes in `body`. Returns the result row of the statement
    RETRY, or None if the task has not ended or has succeeded. Raises ParamsChanged, and for a task
    of a workflow the errors of `Retries.choose_for_task`.
    """
    async with database.short_transaction():
        workflow, choice = task["workflow"], None
        if workflow is not None:
            choice = await retries.choose_for_task(workflow, task["step"], body.handlers)
        values = {"reason": f"retried by account {reader.id}", "delay_s": body.delay_s, **edit.values}
        await _check_kept(database, task, edit)
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
    """Release a task from a crash loop, in which it kept killing its workers.

    Returns the result row of the statement RELEASE, or None if the task is not in a crash loop.
    """
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
    """Change a waiting task. Raises ParamsChanged.

    Returns the result row of the statement EDIT, or None if the task is not waiting.
    """
    async with database.short_transaction():
        await _check_kept(database, task, edit)
        rows = await database.run(operate.EDIT, id=task["id"], send_at=send_at, **edit.values)
        if not rows:
            return None
        row = rows[0]
        if reader.is_staff:  # Users change only their own tasks, which is not audited
            before = {name: row[f"former_{name}"] for name in ("queue", "priority", "send_at")}
            after = {**edit.shown, **({"send_at": send_at} if send_at else {})}
            before = {name: value for name, value in before.items() if name in after}
            await _record(database, task, Action.TASK_CHANGED, reader, before, after, edit.reason)
        return row


async def run_now(
    database: Database, task: Mapping[str, Any], reader: Reader, *, past_pause: bool, reason: str | None
) -> dict[str, Any] | None:
    """Let a waiting task run now.

    Returns the result row of the statement RUN_NOW with the field `paused`, which shows whether the
    queue is paused. Returns None if the task is not waiting.
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


async def _check_kept(database: Database, task: Mapping[str, Any], edit: Edit) -> None:
    """Check that the stored parameters are still those from which the edit took unchanged values.

    Locks the task's row. Raises ParamsChanged.
    """
    if not edit.kept:
        return
    rows = await database.run(LOCKED_PARAMS, id=task["id"])
    if rows and rows[0]["params"] != edit.kept_from:
        raise ParamsChanged(edit.kept)


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
