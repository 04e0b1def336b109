"""Reads the attempts of a task and their log lines."""

from typing import Any
from uuid import UUID

from services.api.identity.rights import Reader
from services.api.tasks.schemas import AttemptAnswer, LogLine, TaskLogs
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL
from shared.ledger.statement import Statement
from shared.ledger.task_tables import TaskAttempt

#: Maximum number of log lines that are shown with each attempt of a task; the last ones are shown.
#: The route for the task's logs can return more.
LINES_PER_ATTEMPT = 100
LEVELS = ("debug", "info", "warning", "error", "critical")

#: Reads the last `lines` log lines of each attempt of a task, in the order in which they were
#: logged.
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
    """Return all attempts of a task, oldest first.

    `task` is a row that was read earlier. If its current attempt has ended since then, the attempt
    is shown as ended.
    """
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
    """Return the last `limit` log lines whose level is `level` or higher.

    The lines come from all attempts, in the order in which they were logged.
    """
    total, rows = await last_lines(database, task["id"], level=level, limit=limit)
    lines = [LogLine(row["logged_at"], row["level"], row["message"]) for row in rows]
    return TaskLogs(task["id"], total, lines, task["status"], task["status"] in FINAL)


async def last_lines(
    database: Database, task_id: UUID, *, level: str = "debug", limit: int
) -> tuple[int, list[dict[str, Any]]]:
    """Return how many log lines have this level or a higher one, and the last `limit` of these
    lines.

    Each line has its claim number and its ordinal within the claim.
    """
    levels = list(LEVELS[LEVELS.index(level) :])
    rows = await database.run(LOGS, task=task_id, levels=levels, limit=limit)
    return (rows[0]["total"] if rows else 0), rows


def _current(task: dict[str, Any]) -> dict[str, Any]:
    """Build an attempt from the task's own row, which stores the latest attempt."""
    ended = task["status"] in FINAL
    return {**task, "ended_at": task["completed_at"], "outcome": task["status"] if ended else None}


def _attempt(row: dict[str, Any], reader: Reader, logs: list[LogLine]) -> AttemptAnswer:
    fields = {name: row[name] for name in AttemptAnswer.__struct_fields__ if name != "logs"}
    if not reader.sees_tracebacks:
        fields["error_traceback"] = None
    return AttemptAnswer(**fields, logs=logs)
