"""Which tasks a list shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw
from piccolo.query.methods.select import Select

from services.api.identity.rights import Reach, Reader
from services.api.tasks.params_filter import Alternatives
from shared.ledger.ids import first_uuid7, moment_of
from shared.ledger.lifecycle import Status
from shared.ledger.tables import Task, TaskFailure

#: Tasks in these states are in a place, and each place has an index that holds nothing else.
_UNFINISHED = frozenset({Status.PENDING, Status.STARTED, Status.RETRY})
_IN_A_PLACE = WhereRaw("(send_at IS NOT NULL OR sent_at IS NOT NULL OR holder IS NOT NULL)")
_HELD = WhereRaw("holder IS NOT NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What a reader asks for; None is everything. Of several values any one fits."""

    status: Sequence[Status] | None = None
    task_type: str | None = None
    name: Sequence[str] | None = None
    queue: Sequence[str] | None = None
    owner: int | None = None
    worker: UUID | None = None
    parent: UUID | None = None
    workflow: UUID | None = None
    schedule: str | None = None
    fingerprint: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    #: Part of the error's message, in upper or lower case.
    error: str | None = None
    #: By the path of a parameter.
    params: Mapping[str, Alternatives] = field(default_factory=dict)

    @property
    def only_failures(self) -> bool:
        return self.status is not None and set(self.status) == {Status.FAILURE}

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Times of creation become bounds of the id, so that only the partitions of those days are read."""
        equal: list[tuple[Any, Any]] = [
            (Task.type, self.task_type),
            (Task.owner, self.owner),
            (Task.worker, self.worker),
            (Task.parent, self.parent),
            (Task.workflow, self.workflow),
            (Task.schedule, self.schedule),
            (Task.error_fingerprint, self.fingerprint),
        ]
        for column, value in equal:
            if value is not None:
                query = query.where(column == value)
        if self.status:
            query = _in_states(query, self.status)
        query = _any_of(query, Task.name, self.name)
        query = _any_of(query, Task.queue, self.queue)
        if self.parent is not None:  # children are younger, but for the clocks of their workers
            query = query.where(Task.id >= first_uuid7(moment_of(self.parent) - timedelta(seconds=1)))
        if self.completed_after is not None:
            query = query.where(Task.completed_at >= self.completed_after)
        if self.completed_before is not None:
            query = query.where(Task.completed_at < self.completed_before)
        if self.error is not None:
            query = query.where(Task.error_message.ilike(f"%{_literally(self.error)}%"))
        for documents in self.params.values():
            fits = " OR ".join("params @> {}::text::jsonb" for _ in documents)
            query = query.where(WhereRaw(f"({fits})", *documents))
        return self._created(query, Task.id)

    def failures(self, reader: Reader) -> Select[Any]:
        """Tasks that have failed and may fit: what `task_failure` says of them does."""
        query = TaskFailure.select(TaskFailure.task_id)
        for owner in (self.owner, None if reader.reach is Reach.ALL else reader.id):
            if owner is not None:
                query = query.where(TaskFailure.owner == owner)
        if self.fingerprint is not None:
            query = query.where(TaskFailure.fingerprint == self.fingerprint)
        query = _any_of(query, TaskFailure.name, self.name)
        query = _any_of(query, TaskFailure.queue, self.queue)
        return self._created(query, TaskFailure.task_id)

    def _created(self, query: Select[Any], task_id: Any) -> Select[Any]:
        """What has ended before a time was also created before it."""
        if self.created_after is not None:
            query = query.where(task_id >= first_uuid7(self.created_after))
        for before in (self.created_before, self.completed_before):
            if before is not None:
                query = query.where(task_id < first_uuid7(before))
        return query


def visible(query: Select[Any], reader: Reader) -> Select[Any]:
    """Only what this reader may see."""
    return query if reader.reach is Reach.ALL else query.where(Task.owner == reader.id)


def _in_states(query: Select[Any], states: Sequence[Status]) -> Select[Any]:
    """Names the place as well, so that Postgres can find few unfinished tasks among many others."""
    query = query.where(Task.status.is_in([state.value for state in states]))
    if set(states) == {Status.STARTED}:
        return query.where(_HELD)
    return query.where(_IN_A_PLACE) if set(states) <= _UNFINISHED else query


def _any_of(query: Select[Any], column: Any, values: Sequence[Any] | None) -> Select[Any]:
    return query.where(column.is_in(list(values))) if values else query


def _literally(text: str) -> str:
    """Without the meaning that LIKE gives to % and _."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
