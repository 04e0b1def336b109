"""Answers about bulk operations: the preview, and the progress of each operation."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class BulkSample(Struct):
    id: UUID
    name: str
    status: str
    owner: int | None
    created_at: datetime


class BulkPreview(Struct):
    #: Number of matches. Counting stops at 10,000.
    matches: int
    #: Whether `matches` is exact; False if there are more matches.
    exact: bool
    #: The ten newest matches, as a sample.
    sample: list[BulkSample]
    #: Upper limit of the creation time: the bulk operation ignores tasks created later.
    until: datetime
    #: Token that proves that the preview was shown. It starts one bulk operation.
    token: str
    token_expires_at: datetime
    #: Estimated duration of the bulk operation in seconds.
    seconds: float


class BulkStarted(Struct):
    bulk_id: UUID
    task_id: UUID
    message: str


class BulkStopped(Struct):
    bulk_id: UUID
    message: str


class Bulk(Struct, kw_only=True):
    """A bulk operation: one action on everything that matches a filter."""

    id: UUID
    task_id: UUID
    kind: str
    action: str
    filter: dict[str, Any]
    changes: dict[str, Any] | None
    actor: int
    reason: str | None
    rate: int | None
    #: State of the bulk operation: waiting, running, stopping, completed, stopped, forbidden or
    #: failed.
    state: str
    #: Number of matches in the preview. If `exact` is false, there may have been more.
    expected: int
    exact: bool
    done: int
    #: Number of matches that were skipped, because they had changed since the preview and no longer
    #: matched.
    skipped: int
    refused: int
    #: Number of matches for which the action was refused, by the reason.
    refusals: dict[str, int]
    until: datetime
    #: Progress of the bulk operation: everything created until this time has been processed.
    reached: datetime
    created_at: datetime
    ended_at: datetime | None

    @property
    def is_final(self) -> bool:
        return self.ended_at is not None
