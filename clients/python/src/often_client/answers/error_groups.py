"""Answers about error groups, which are failed attempts with the same cause."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class ErrorGroup(Struct, kw_only=True):
    """An error group: all failed attempts that have the same cause."""

    fingerprint: str
    task_name: str
    #: Kind of the group's latest error, with the same values as `error_kind` of a task.
    kind: str
    #: Qualified type name of the exception that caused the error.
    type: str | None
    #: Module and function of the innermost stack frame that is in the application's code.
    place: str | None
    message: str | None
    #: State of the error group: open, acknowledged, muted, resolved or regressed.
    state: str
    #: Time at which a muted error group becomes open again.
    until: datetime | None
    note: str | None
    changed_at: datetime | None
    #: Id of the account that last changed the state of the error group.
    changed_by: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    first_release: str
    last_release: str
    attempts_24h: int
    tasks_24h: int
    sample_task_id: UUID


class ErrorHour(Struct):
    at: datetime
    attempts: int
    tasks: int


class ErrorDetail(ErrorGroup, kw_only=True):
    #: Counts for the present hour and for the 23 hours before it, oldest first.
    hours: list[ErrorHour]
