"""Reads rows of the Celery system's `tasks` table, as COPY writes them: CSV with a header."""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from shared.ledger.ids import first_uuid7

#: A row of a clock that is ahead by more than this is refused: its day would need a partition of its own.
MAX_AHEAD = timedelta(days=1)
#: A traceback or a result may be longer than the csv module's default of 128 KiB.
MAX_CELL_BYTES = 2**30

FINAL = frozenset({"success", "failure", "revoked"})
WAITING = frozenset({"pending", "retry"})
RUNNING = frozenset({"started"})


class Unreadable(Exception):
    """A row that cannot be imported; the message says which rule it breaks."""

    def __init__(self, task_id: str, rule: str) -> None:
        super().__init__(f"{task_id or 'a row without task_id'}: {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldTask:
    """One row. Fields carry the names of the old columns."""

    task_id: str
    task_name: str
    task_type: str
    status: str
    user_id: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_seconds: float | None
    task_args: list[Any]
    task_kwargs: dict[str, Any]
    result: Any
    error_message: str | None
    traceback: str | None
    progress_current: int
    progress_total: int
    progress_message: str | None
    queue_name: str
    priority: int

    @property
    def function(self) -> str:
        """The name without its modules: `app.tasks.email_tasks.send_welcome_email` has the last part."""
        return self.task_name.rpartition(".")[2]

    @property
    def id(self) -> UUID:
        """A UUIDv7 of the row's creation time, always the same for the same row."""
        noise = int.from_bytes(sha256(self.task_id.encode()).digest()[:10], "big")
        value = first_uuid7(self.created_at).int | noise
        value = value & ~(0xF << 76) | 0x7 << 76  # version
        return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # variant


def read(lines: Iterable[str]) -> Iterator[OldTask | Unreadable]:
    """Convert each row. An empty cell is a null. Times without a zone are taken as UTC."""
    csv.field_size_limit(MAX_CELL_BYTES)
    latest = datetime.now(UTC) + MAX_AHEAD
    for row in csv.DictReader(lines):
        try:
            yield _task({name: text for name, text in row.items() if text}, latest)
        except (ValueError, KeyError, TypeError) as error:
            rule = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            yield Unreadable(row.get("task_id") or "", rule)


def _task(row: dict[str, str], latest: datetime) -> OldTask:
    created_at = _time(row["created_at"])
    if created_at > latest:
        raise ValueError(f"created_at is in the future: {created_at}")
    status = row["status"].lower()
    if status not in FINAL | WAITING | RUNNING:
        raise ValueError(f"status {status!r} is not one of the six")
    return OldTask(
        task_id=row["task_id"],
        task_name=row["task_name"],
        task_type=row.get("task_type", "general"),
        status=status,
        user_id=int(row["user_id"]) if "user_id" in row else None,
        created_at=created_at,
        started_at=_time_or_none(row.get("started_at")),
        completed_at=_time_or_none(row.get("completed_at")),
        execution_time_seconds=_seconds(row.get("execution_time_seconds")),
        task_args=_json(row, "task_args", list),
        task_kwargs=_json(row, "task_kwargs", dict),
        result=_json(row, "result", object),
        error_message=row.get("error_message"),
        traceback=row.get("traceback"),
        progress_current=max(0, int(row.get("progress_current", 0))),
        progress_total=max(1, int(row.get("progress_total", 100))),
        progress_message=row.get("progress_message"),
        queue_name=re.sub(r"\W", "_", row.get("queue_name", "default")).lower(),
        priority=min(9, max(0, int(row.get("priority", 0)))),
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _seconds(text: str | None) -> float | None:
    seconds = None if text is None else float(text)
    if seconds is not None and not math.isfinite(seconds):
        raise ValueError(f"execution_time_seconds is {text}")
    return seconds


def _json(row: dict[str, str], name: str, kind: type) -> Any:
    """The value of a JSON column. Raises ValueError where jsonb could not hold it or it has another kind."""
    value = json.loads(row[name], parse_constant=_refuse_constant) if name in row else None
    if value is None:
        return None if kind is object else kind()
    if "\\u0000" in row[name]:
        raise ValueError(f"{name} contains the NUL character")
    json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair raises UnicodeEncodeError
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a JSON {'array' if kind is list else 'object'}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number that the ledger can store")
