"""Reads a task filter from the query of a task list, or from the body of a bulk operation."""

import json
from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from services.api.http import moments, texts
from services.api.http.schemas import Body, Id
from services.api.tasks import params_filter
from shared.contracts.patterns import whole
from shared.ledger.lifecycle import Status
from shared.ledger.task_filter import TaskFilter

#: Name of a task or of a workflow. Only workflow names may contain hyphens.
Name = Annotated[str, Meta(pattern=whole(r"[a-z0-9_.-]{1,100}"))]
Names = Annotated[list[Name], Meta(min_length=1, max_length=20, description="Any of these")]
#: A time as text. The module `moments` parses it.
Time = Annotated[str, Meta(max_length=40, description="With a time zone, 2026-11-22T12:00:00Z")]


class FilterFields(Body, kw_only=True):
    """The fields of a task filter as clients send them. A field that is null does not restrict the
    result.
    """

    status: Annotated[list[Status], Meta(min_length=1, max_length=len(Status))] | None = None
    task_type: Name | None = None
    name: Names | None = None
    queue: Names | None = None
    owner: Id | None = None
    worker: UUID | None = None
    parent: UUID | None = None
    workflow: UUID | None = None
    schedule: Annotated[str, Meta(max_length=100)] | None = None
    fingerprint: Annotated[str, Meta(pattern=whole(r"[0-9a-z:]{1,100}"))] | None = None
    created_after: Time | None = None
    created_before: Time | None = None
    completed_after: Time | None = None
    completed_before: Time | None = None
    error: Annotated[str, Meta(max_length=200, description="Part of the message")] | None = None

    def read(self, params: Iterable[tuple[str, str]]) -> TaskFilter:
        """Build the filter. Raises InvalidFields.

        `params` contains all parameters of the query. Only those whose names begin with `params.`
        are used.
        """
        texts.refuse_unstorable(error=self.error, schedule=self.schedule)
        return TaskFilter(
            status=self.status,
            task_type=self.task_type,
            name=self.name,
            queue=self.queue,
            owner=self.owner,
            worker=self.worker,
            parent=self.parent,
            workflow=self.workflow,
            schedule=self.schedule,
            fingerprint=self.fingerprint,
            created_after=moments.read(self.created_after, "created_after"),
            created_before=moments.read(self.created_before, "created_before"),
            completed_after=moments.read(self.completed_after, "completed_after"),
            completed_before=moments.read(self.completed_before, "completed_before"),
            error=self.error,
            params=params_filter.read(params),
        )


def in_query(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Convert a parameter filter from a JSON body to the form that a query has.

    For example, `{"user_id": 7}` becomes `params.user_id=7`.
    """
    return [
        (f"{params_filter.PREFIX}{name}", value if isinstance(value, str) else json.dumps(value))
        for name, value in params.items()
    ]
