"""The attempts of a task, and what its body logged."""

from typing import Any

from services.api.identity.rights import Reader
from services.api.tasks.schemas import AttemptAnswer, LogLine, TaskLogs
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL
from shared.ledger.statement import Statement
from shared.ledger.tables import TaskAttempt

#: Lines shown with an attempt; all of them are in the task's logs.
LINES_PER_ATTEMPT = 100
LEVELS = ("debug", "info", "warning", "error", "critical")

#: The last `lines` lines of each attempt, in their order.
LINES = Statement("""
    SELECT claim, logged_at, level, message FROM (
        SELECT *, row_number() OVER (PARTITION BY claim ORDER BY ordinal DESC) AS back
        FROM task_log WHERE task_id = :task
    ) AS line WHERE back <= :lines ORDER BY claim, ordinal
""")
LOGS = Statement("""
    SELECT l.*, (
        SELECT count(*) FROM task_log WHERE task_id = :task AND level = ANY(:levels::text[])
    ) AS total
    FROM (
        SELECT claim, ordinal, logged_at, level, message FROM task_log
        WHERE task_id = :task AND level = ANY(:levels::text[]) ORDER BY claim DESC, ordinal DESC LIMIT :limit
    ) AS l ORDER BY claim, ordinal
""")


async def attempts(database: Database, task: dict[str, Any], reader: Reader) -> list[AttemptAnswer]:
    """All attempts, oldest first. `task` was read before, so an attempt that ended since is a closed one."""
    closed = await database.answered(
        TaskAttempt.select().where(TaskAttempt.task_id == task["id"]).order_by(TaskAttempt.claim)
    )
    logs: dict[int, list[LogLine]] = {}
    for line in await database.run(LINES, task=task["id"], lines=LINES_PER_ATTEMPT):
        logs.setdefault(line.pop("claim"), []).append(LogLine(**line))
    last = max((row["attempt"] for row in closed), default=0)
    rows = [*closed, *([_current(task)] if task["attempt"] > last else [])]
    return [_attempt(row, reader, logs.get(row["claim"], [])) for row in rows]


async def logs(database: Database, task: dict[str, Any], *, level: str, limit: int) -> TaskLogs:
    """The last `limit` lines of at least this level over all attempts, in their order."""
    levels = list(LEVELS[LEVELS.index(level) :])
    rows = await database.run(LOGS, task=task["id"], levels=levels, limit=limit)
    lines = [LogLine(row["logged_at"], row["level"], row["message"]) for row in rows]
    total = rows[0]["total"] if rows else 0
    return TaskLogs(task["id"], total, lines, task["status"], task["status"] in FINAL)


def _current(task: dict[str, Any]) -> dict[str, Any]:
    """The last attempt, which the task's own row holds."""
    ended = task["status"] in FINAL
    return {**task, "ended_at": task["completed_at"], "outcome": task["status"] if ended else None}


def _attempt(row: dict[str, Any], reader: Reader, logs: list[LogLine]) -> AttemptAnswer:
    fields = {name: row[name] for name in AttemptAnswer.__struct_fields__ if name != "logs"}
    if not reader.sees_tracebacks:
        fields["error_traceback"] = None
    return AttemptAnswer(**fields, logs=logs)
