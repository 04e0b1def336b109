"""Reads rows of the Celery system's `tasks` table, as written by COPY: CSV with a header."""

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

#: Maximum distance of a row's time into the future. A row further ahead would need a partition of
#: its own and is refused.
MAX_AHEAD = timedelta(days=1)
#: Longest cell in bytes. The csv module's default of 128 KiB is too short for some tracebacks and
#: results.
MAX_CELL_BYTES = 2**30

FINAL = frozenset({"success", "failure", "revoked"})
WAITING = frozenset({"pending", "retry"})
RUNNING = frozenset({"started"})


class Unreadable(Exception):
    """A row that cannot be imported; the message names the broken rule."""

    def __init__(self, task_id: str, rule: str) -> None:
        super().__init__(f"{task_id or 'a row without task_id'}: {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OldTask:
    """A row of the old table. Its fields have the names of the columns."""

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
        """The function's name without its modules, such as `send_welcome_email` for
        `app.tasks.email_tasks.send_welcome_email`.
        """
        return self.task_name.rpartition(".")[2]

    @property
    def id(self) -> UUID:
        """A UUIDv7 made from the row's creation time and old id. The same row always gets the same
        id.
        """
        noise = int.from_bytes(sha256(self.task_id.encode()).digest()[:10], "big")
        value = first_uuid7(self.created_at).int | noise
        value = value & ~(0xF << 76) | 0x7 << 76  # the version bits of a UUIDv7
        return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # the variant bits of every UUID


def read(lines: Iterable[str]) -> Iterator[OldTask | Unreadable]:
    """Yield a task for each row. An empty cell is read as null, and a time without a zone as UTC."""
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
        raise ValueError(
            f"status is {status!r}, but must be one of {', '.join(sorted(FINAL | WAITING | RUNNING))}"
        )
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
        raise ValueError(f"execution_time_seconds must be a finite number, but is {text}")
    return seconds


def _json(row: dict[str, str], name: str, kind: type) -> Any:
    """Decode a JSON column. Raises ValueError if the value has another type or jsonb cannot store it."""
    value = json.loads(row[name], parse_constant=_refuse_constant) if name in row else None
    if value is None:
        return None if kind is object else kind()
    if "\\u0000" in row[name]:
        raise ValueError(f"{name} contains the NUL character, which Postgres cannot store")
    # Raises UnicodeEncodeError if the text contains half of a surrogate pair, which Postgres cannot
    # store.
    json.dumps(value, ensure_ascii=False).encode()
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a JSON {'array' if kind is list else 'object'}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"a JSON column contains {name}, which Postgres cannot store in JSON")
