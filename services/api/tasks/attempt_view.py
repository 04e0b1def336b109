"""What happened in each attempt of a task, and what its body logged."""

from typing import Any
from uuid import UUID

from services.api.http.query import answered
from services.api.identity.rights import Reader
from services.api.tasks.schemas import AttemptAnswer, LogLine, TaskLogs
from shared.ledger import engine
from shared.ledger.lifecycle import FINAL
from shared.ledger.tables import TaskAttempt

#: Lines shown with an attempt; all of them are in the task's logs.
LINES_PER_ATTEMPT = 100
LEVELS = ("debug", "info", "warning", "error", "critical")

#: The last lines of each attempt, in their order. values: task, lines.
LINES = """
    SELECT claim, logged_at, level, message FROM (
        SELECT *, row_number() OVER (PARTITION BY claim ORDER BY ordinal DESC) AS back
        FROM task_log WHERE task_id = {}
    ) AS line WHERE back <= {} ORDER BY claim, ordinal
"""
#: values: task, levels[], task, levels[], limit.
LOGS = """
    SELECT l.*, (SELECT count(*) FROM task_log WHERE task_id = {} AND level = ANY({}::text[])) AS total
    FROM (
        SELECT claim, ordinal, logged_at, level, message FROM task_log
        WHERE task_id = {} AND level = ANY({}::text[]) ORDER BY claim DESC, ordinal DESC LIMIT {}
    ) AS l ORDER BY claim, ordinal
"""
#: Lines behind a known one. values: task, levels[], claim, ordinal, limit.
LINES_AFTER = """
    SELECT claim, ordinal, logged_at, level, message FROM task_log
    WHERE task_id = {} AND level = ANY({}::text[]) AND (claim, ordinal) > ({}, {})
    ORDER BY claim, ordinal LIMIT {}
"""


async def attempts(task: dict[str, Any], reader: Reader) -> list[AttemptAnswer]:
    """All attempts, oldest first. `task` was read before: what ended since is among the closed ones."""
    closed = await answered(
        TaskAttempt.select().where(TaskAttempt.task_id == task["id"]).order_by(TaskAttempt.claim)
    )
    logs: dict[int, list[LogLine]] = {}
    for line in await engine.run(LINES, task["id"], LINES_PER_ATTEMPT):
        logs.setdefault(line.pop("claim"), []).append(LogLine(**line))
    last = max((row["attempt"] for row in closed), default=0)
    rows = [*closed, *([_current(task)] if task["attempt"] > last else [])]
    return [_attempt(row, reader, logs.get(row["claim"], [])) for row in rows]


async def logs(task: dict[str, Any], *, level: str, limit: int) -> TaskLogs:
    """The last `limit` lines of at least this level over all attempts, in their order."""
    levels = list(LEVELS[LEVELS.index(level) :])
    rows = await engine.run(LOGS, task["id"], levels, task["id"], levels, limit)
    lines = [LogLine(row["logged_at"], row["level"], row["message"]) for row in rows]
    total = rows[0]["total"] if rows else 0
    return TaskLogs(task["id"], total, lines, task["status"], task["status"] in FINAL)


async def lines_after(
    task_id: UUID, seen: tuple[int, int], *, level: str, limit: int
) -> tuple[list[LogLine], tuple[int, int]]:
    """Lines behind the one that `seen` names, (claim, ordinal), and what names the last of them.

    The source of live streams: it is asked again and again, and looks at new lines only.
    """
    levels = list(LEVELS[LEVELS.index(level) :])
    rows = await engine.run(LINES_AFTER, task_id, levels, *seen, limit)
    lines = [LogLine(row["logged_at"], row["level"], row["message"]) for row in rows]
    return lines, (rows[-1]["claim"], rows[-1]["ordinal"]) if rows else seen


def _current(task: dict[str, Any]) -> dict[str, Any]:
    """The last attempt, which stands in the task's own row."""
    ended = task["status"] in FINAL
    return {**task, "ended_at": task["completed_at"], "outcome": task["status"] if ended else None}


def _attempt(row: dict[str, Any], reader: Reader, logs: list[LogLine]) -> AttemptAnswer:
    fields = {name: row[name] for name in AttemptAnswer.__struct_fields__ if name != "logs"}
    if not reader.sees_tracebacks:
        fields["error_traceback"] = None
    return AttemptAnswer(**fields, logs=logs)
