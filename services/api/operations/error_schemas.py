"""Request and response bodies with which operators see and change error groups through the API."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body
from shared.contracts.patterns import whole
from shared.ledger.error_groups import State

#: A note on an error group: one or more lines without control characters, of which the last one is
#: not empty.
Note = Annotated[
    str,
    Meta(
        max_length=2_000,
        pattern=whole(r"[^\x00-\x1f\x7f]*(\n+[^\x00-\x1f\x7f]+)*"),
        description="A note for other operators. Left out, it stays unchanged; empty, it is removed",
    ),
]


class Decision(StrEnum):
    """The states into which an operator may put an error group."""

    OPEN = State.OPEN
    ACKNOWLEDGED = State.ACKNOWLEDGED
    MUTED = State.MUTED
    RESOLVED = State.RESOLVED


class ErrorChange(Body):
    state: Decision
    until: (
        Annotated[
            datetime,
            Meta(tz=True, description="With the state muted: the time at which the group becomes open again"),
        ]
        | None
    ) = None
    note: Note | None = None


class ErrorGroupAnswer(Answer, kw_only=True):
    """An error group: failed attempts with the same cause."""

    fingerprint: str
    task_name: str
    #: The reason why the last attempt failed, with the same values as the field `error_kind` of a
    #: task.
    kind: str
    #: Qualified name of the exception class that caused the failure; null if the failure was not
    #: raised by a task body.
    type: str | None
    #: Module and function in the application's code in which the error was raised.
    place: str | None
    #: Error message of the last attempt, without sensitive values; null once the account of its
    #: task was erased.
    message: str | None
    state: State
    #: Time at which a muted group becomes open again; null if it stays muted until an operator
    #: changes it.
    until: datetime | None
    note: str | None
    changed_at: datetime | None
    #: Id of the operator's account that made the last decision about the group; null once that
    #: account was erased.
    changed_by: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    #: The first release in which the error occurred; `last_release` is the latest one.
    first_release: str
    last_release: str
    #: Number of failed attempts in the current hour and the 23 hours before it; `tasks_24h` counts
    #: those that ended their task.
    attempts_24h: int
    tasks_24h: int
    #: Id of the task whose attempt failed last with this error.
    sample_task_id: UUID


class ErrorPage(Answer):
    #: The error groups. The group whose error occurred last comes first.
    items: list[ErrorGroupAnswer]
    #: Cursor of the next page, to be sent as the parameter `cursor`. Null on the last page.
    next_cursor: str | None


class ErrorHourAnswer(Answer):
    #: Start of the hour in which the failures were counted.
    at: datetime
    attempts: int
    tasks: int


class ErrorLinks(Answer):
    #: Address of the last task that failed with this error. The task may already have been deleted
    #: because of its age.
    sample: str
    #: Address of the list of all tasks that failed with this error and were not retried.
    tasks: str


class ErrorDetail(ErrorGroupAnswer, kw_only=True):
    #: Numbers of failures in the current hour and the 23 hours before it, oldest hour first.
    hours: list[ErrorHourAnswer]
    links: ErrorLinks
