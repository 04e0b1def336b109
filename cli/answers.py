"""What the API answers, as far as this client reads it; fields that it does not know are ignored."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

FINAL = frozenset({"success", "failure", "revoked"})


class Account(Struct):
    id: int
    email: str
    full_name: str | None
    role: str


class Tokens(Struct):
    access_token: str
    refresh_token: str
    expires_in: int


class Submitted(Struct):
    task_id: UUID
    status: str
    message: str


class BatchSubmitted(Struct):
    task_ids: list[UUID]


class Task(Struct):
    id: UUID
    task_name: str
    task_type: str
    status: str
    queue: str
    priority: int
    owner: int | None
    params: dict[str, Any]
    result: Any
    progress_percentage: int
    progress_message: str | None
    attempt: int
    failures: int
    crashes: int
    interruptions: int
    error_kind: str | None
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_seconds: float | None
    scheduled_for: datetime | None
    wait_reason: str | None
    revision: int

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class TaskPage(Struct):
    items: list[Task]
    next_cursor: str | None


class LogLine(Struct):
    logged_at: datetime
    level: str
    message: str


class Attempt(Struct):
    attempt: int
    claim: int
    worker: UUID | None
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    error_kind: str | None
    error_message: str | None
    logs: list[LogLine]


class TaskLogs(Struct):
    total_logs: int
    logs: list[LogLine]


class FieldRule(Struct):
    field: str
    rule: str


class Problem(Struct):
    """RFC 9457; `type` is for programs, `detail` for people."""

    status: int
    detail: str
    type: str = ""
    errors: list[FieldRule] = []  # msgspec copies it for each instance
