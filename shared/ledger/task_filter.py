"""Filters for lists of tasks and for bulk operations on tasks."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw
from piccolo.query.methods.select import Select

from shared.ledger.ids import first_uuid7, ids_between, moment_of
from shared.ledger.lifecycle import Status
from shared.ledger.task_tables import Task, TaskFailure

#: JSON texts, at least one of which the task's parameters must contain. There are several if a
#: value is ambiguous: `7` in a query string may mean a number or a text.
Alternatives = tuple[str, ...]

#: Statuses of unfinished tasks. Such a task is in a place (waiting in Postgres, in a Redis lane, or
#: held by a worker), and each place has an index that contains no other tasks.
_UNFINISHED = frozenset({Status.PENDING, Status.STARTED, Status.RETRY})
IN_A_PLACE = WhereRaw("(send_at IS NOT NULL OR sent_at IS NOT NULL OR holder IS NOT NULL)")
_HELD = WhereRaw("holder IS NOT NULL")
#: Maximum difference between the clocks of two servers. The id of a task and its end time may come
#: from different servers.
CLOCKS_APART = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """A filter for tasks.

    A field that is None does not filter. If a field has several values, a task with any of them
    matches.
    """

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
    #: A text that the error message must contain. Upper and lower case do not matter.
    error: str | None = None
    #: Values that parameters must have, by the path of the parameter.
    params: Mapping[str, Alternatives] = field(default_factory=dict)

    @property
    def is_filtered(self) -> bool:
        """True if the filter has conditions other than owner and creation time.

        For these two, there is always an index.
        """
        return dataclasses.replace(self, owner=None, created_after=None, created_before=None) != TaskFilter()

    @property
    def only_failures(self) -> bool:
        return self.status is not None and set(self.status) == {Status.FAILURE}

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Add the conditions of the filter to a query.

        Creation times become bounds of the id, so that only the partitions of those days are read.
        """
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
        if self.parent is not None:  # Child tasks are created after their parent
            query = query.where(Task.id >= first_uuid7(moment_of(self.parent) - CLOCKS_APART))
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

    def failures(self, owned_by: int | None) -> Select[Any]:
        """Build a query on the table of failures for the failed tasks that may match.

        It has only those conditions of the filter that the table has columns for. `owned_by` is the
        account whose tasks the reader may see, or None if the reader may see those of all accounts.
        """
        query = TaskFailure.select(TaskFailure.task_id)
        for owner in (self.owner, owned_by):
            if owner is not None:
                query = query.where(TaskFailure.owner == owner)
        if self.fingerprint is not None:
            query = query.where(TaskFailure.fingerprint == self.fingerprint)
        query = _any_of(query, TaskFailure.name, self.name)
        query = _any_of(query, TaskFailure.queue, self.queue)
        return self._created(query, TaskFailure.task_id)

    @property
    def id_bounds(self) -> tuple[UUID, UUID]:
        """Bounds of the ids of all matching tasks: from the first id to just below the second."""
        completed = None if self.completed_before is None else _later(self.completed_before)
        ends = [end for end in (self.created_before, completed) if end is not None]
        return ids_between(self.created_after, min(ends, default=None))

    def _created(self, query: Select[Any], task_id: Any) -> Select[Any]:
        """Add the conditions on the creation time to a query.

        A condition on the end time also limits the creation time, because a task is created before
        it ends.
        """
        if self.created_after is not None:
            query = query.where(task_id >= first_uuid7(self.created_after))
        if self.created_before is not None:
            query = query.where(task_id < first_uuid7(self.created_before))
        if self.completed_before is not None:
            query = query.where(task_id < first_uuid7(_later(self.completed_before)))
        return query


def _later(moment: datetime) -> datetime:
    """The time plus CLOCKS_APART, but at most the latest possible time."""
    return moment + min(CLOCKS_APART, datetime.max.replace(tzinfo=UTC) - moment)


def owned(query: Select[Any], owner: int | None) -> Select[Any]:
    """Limit the query to tasks of this account, unless `owner` is None."""
    return query if owner is None else query.where(Task.owner == owner)


def _in_states(query: Select[Any], states: Sequence[Status]) -> Select[Any]:
    """Add the condition on the status to a query.

    A condition on the place is added, so that Postgres finds few unfinished tasks among many others
    by an index.
    """
    query = query.where(Task.status.is_in([state.value for state in states]))
    if set(states) == {Status.STARTED}:
        return query.where(_HELD)
    return query.where(IN_A_PLACE) if set(states) <= _UNFINISHED else query


def _any_of(query: Select[Any], column: Any, values: Sequence[Any] | None) -> Select[Any]:
    return query.where(column.is_in(list(values))) if values else query


def _literally(text: str) -> str:
    """Escape the characters that have a special meaning in the SQL operator LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
