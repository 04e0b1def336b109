"""Tasks as their readers see them: each as far as rights.py lets him."""

import base64
import binascii
from typing import Any
from uuid import UUID

import msgspec
from piccolo.query.methods.select import Select

from services.api.query import answered
from services.api.rights import Reach, Reader
from services.api.schemas.tasks import AttemptAnswer, LogLine, TaskAnswer, TaskPage
from shared.errors import FieldProblem, InvalidFields, TaskNotFound
from shared.ledger.lifecycle import FINAL, Status
from shared.ledger.tables import Task, TaskAttempt, TaskLog

_COLUMNS = (
    Task.id,
    Task.name,
    Task.type,
    Task.status,
    Task.queue,
    Task.priority,
    Task.owner,
    Task.params,
    Task.result,
    Task.progress_current,
    Task.progress_total,
    Task.progress_message,
    Task.claim,
    Task.attempt,
    Task.max_attempts,
    Task.failures,
    Task.crashes,
    Task.interruptions,
    Task.error_kind,
    Task.error_message,
    Task.error_traceback,
    Task.error_fingerprint,
    Task.created_at,
    Task.started_at,
    Task.completed_at,
    Task.execution_time_seconds,
    Task.send_at,
    Task.expires_at,
    Task.worker,
    Task.wait_reason,
    Task.cancel_requested_at,
    Task.revision,
)


async def find(task_id: UUID, reader: Reader) -> dict[str, Any]:
    """The task's row. Raises TaskNotFound, for a task of somebody else too."""
    row = await answered(_visible(reader).where(Task.id == task_id).first())
    if row is None:
        raise TaskNotFound(task_id)
    return dict(row)


async def page(
    reader: Reader, *, limit: int, cursor: str | None, status: Status | None, name: str | None
) -> TaskPage:
    """Newest first: ids are UUIDv7, so they rise with time."""
    query = _visible(reader)
    if cursor is not None:
        query = query.where(Task.id < _position(cursor))
    if status is not None:
        query = query.where(Task.status == status.value)
    if name is not None:
        query = query.where(Task.name == name)
    rows = await answered(query.order_by(Task.id, ascending=False).limit(limit + 1))
    items = [answer(row, reader) for row in rows[:limit]]
    return TaskPage(items, _cursor(items[-1].id) if len(rows) > limit else None)


async def attempts(task: dict[str, Any], reader: Reader) -> list[AttemptAnswer]:
    """All attempts, oldest first. `task` was read before: what ended since is among the closed ones."""
    closed = await answered(
        TaskAttempt.select().where(TaskAttempt.task_id == task["id"]).order_by(TaskAttempt.claim)
    )
    lines = await answered(
        TaskLog.select(TaskLog.claim, TaskLog.logged_at, TaskLog.level, TaskLog.message)
        .where(TaskLog.task_id == task["id"])
        .order_by(TaskLog.claim, TaskLog.ordinal)
    )
    logs: dict[int, list[LogLine]] = {}
    for line in lines:
        logs.setdefault(line.pop("claim"), []).append(LogLine(**line))
    last = max((row["attempt"] for row in closed), default=0)
    rows = [*closed, *([_current(task)] if task["attempt"] > last else [])]
    return [_attempt(row, reader, logs.get(row["claim"], [])) for row in rows]


def answer(row: dict[str, Any], reader: Reader) -> TaskAnswer:
    return TaskAnswer(
        id=row["id"],
        task_id=row["id"],
        task_name=row["name"],
        task_type=row["type"],
        params=msgspec.json.decode(row["params"]),
        result=None if row["result"] is None else msgspec.json.decode(row["result"]),
        progress_percentage=_percentage(row),
        error_traceback=row["error_traceback"] if reader.sees_tracebacks else None,
        scheduled_for=row["send_at"],
        **{field: row[field] for field in _SAME},
    )


def _visible(reader: Reader) -> Select[Any]:
    query = Task.select(*_COLUMNS)
    return query if reader.reach is Reach.ALL else query.where(Task.owner == reader.id)


#: Fields that the answer takes over from the row under the same name.
_SAME = frozenset(TaskAnswer.__struct_fields__) & {column._meta.name for column in _COLUMNS} - {
    "id",
    "params",
    "result",
    "error_traceback",
}


def _percentage(row: dict[str, Any]) -> int:
    if row["status"] == Status.SUCCESS:
        return 100
    return int(min(100, 100 * row["progress_current"] // row["progress_total"]))


def _current(task: dict[str, Any]) -> dict[str, Any]:
    """The last attempt, which stands in the task's own row."""
    ended = task["status"] in FINAL
    return {**task, "ended_at": task["completed_at"], "outcome": task["status"] if ended else None}


def _attempt(row: dict[str, Any], reader: Reader, logs: list[LogLine]) -> AttemptAnswer:
    fields = {name: row[name] for name in AttemptAnswer.__struct_fields__ if name != "logs"}
    if not reader.sees_tracebacks:
        fields["error_traceback"] = None
    return AttemptAnswer(**fields, logs=logs)


def _cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def _position(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        rule = "must be the next_cursor of an earlier answer"
        raise InvalidFields([FieldProblem("cursor", rule)]) from None
