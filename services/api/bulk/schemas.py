"""The request bodies and answers of bulk operations."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, field

from services.api.http.schemas import Answer, Body, Reason
from services.api.tasks.filter_fields import FilterFields
from shared.bulk.act import Action, Changes, Kind

#: The highest rate that a request may set for a bulk operation, in tasks or workflows per second.
MAX_RATE = 10_000


class BulkFilter(FilterFields, kw_only=True):
    """The filter of a bulk operation.

    Tasks have the same filters as in GET /api/v1/tasks. Workflows are filtered by status, name,
    owner and time of creation.
    """

    params: Annotated[
        dict[str, str | int | float | bool | None],
        Meta(max_length=5, description='`{"user_id": 7}`; dots lead to nested parameters'),
    ] = field(default_factory=dict)


class BulkBody(Body, kw_only=True):
    action: Action
    kind: Kind = Kind.TASK
    filter: BulkFilter
    changes: (
        Annotated[
            Changes,
            Meta(description="New values for the action `change`; `handlers` is for retries of workflows"),
        ]
        | None
    ) = None
    dry_run: Annotated[bool, Meta(description="Count what matches, and change nothing")] = False
    token: Annotated[str, Meta(max_length=1_000, description="The `token` of the preview")] | None = None
    expected: Annotated[int, Meta(ge=0, description="`matches` of the preview")] | None = None
    rate: (
        Annotated[int, Meta(ge=1, le=MAX_RATE, description="Maximum number of tasks or workflows per second")]
        | None
    ) = None
    reason: Reason | None = None


class BulkSample(Answer):
    """One of the newest tasks or workflows that match the filter of a bulk operation."""

    id: UUID
    name: str
    status: str
    owner: int | None
    created_at: datetime


class BulkPreview(Answer):
    #: Number of matching tasks or workflows, counted up to 10,000.
    matches: int
    #: True if `matches` is the exact number; false if there are more.
    exact: bool
    sample: list[BulkSample]
    #: The operation does not change tasks or workflows created after this time.
    until: datetime
    #: Token that the start of the operation must contain. It proves that exactly this operation was
    #: previewed, and can start only one operation.
    token: str
    token_expires_at: datetime
    #: Estimated duration of the operation in seconds, at the requested rate.
    seconds: float


class BulkStarted(Answer):
    bulk_id: UUID
    #: Id of the task that carries out the bulk operation.
    task_id: UUID
    message: str


class BulkAnswer(Answer, kw_only=True):
    id: UUID
    task_id: UUID
    kind: str
    action: str
    filter: dict[str, Any]
    changes: dict[str, Any] | None
    #: Id of the account that started the bulk operation.
    actor: int
    reason: str | None
    rate: int | None
    #: State of the bulk operation: waiting, running, stopping, completed, stopped, forbidden (its
    #: account lost the right to continue) or failed (a retry of its task continues the operation).
    state: str
    #: Number of matching tasks or workflows at the start of the operation.
    expected: int
    #: True if `expected` is the exact number of matches; false if there were more.
    exact: bool
    done: int
    #: Number of tasks or workflows that no longer matched when the operation reached them.
    skipped: int
    #: Number of tasks or workflows for which the action was impossible; `refusals` gives the
    #: reasons.
    refused: int
    refusals: dict[str, int]
    #: The operation does not change tasks or workflows created after this time.
    until: datetime
    #: The operation has processed all matches created before this time.
    reached: datetime
    created_at: datetime
    ended_at: datetime | None


class BulkPage(Answer):
    items: list[BulkAnswer]
    #: Cursor of the next page, to be sent as the parameter `cursor`. Null on the last page.
    next_cursor: str | None


class BulkStopped(Answer):
    bulk_id: UUID
    message: str
