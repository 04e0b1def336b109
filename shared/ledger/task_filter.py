"""Filters for lists of tasks and for bulk operations on tasks."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw
from piccolo.custom_types import Combinable
from piccolo.query.methods.select import Select

from shared.ledger.ids import FIRST_ID, LAST_ID, first_uuid7, ids_between, moment_of
from shared.ledger.lifecycle import Status
from shared.ledger.members import tasks_of_step
from shared.ledger.task_tables import Task, TaskFailure

#: JSON texts, at least one of which the task's parameters must contain. There are several if a
#: value is ambiguous: `7` in a query string may mean a number or a text.
Alternatives = tuple[str, ...]

#: Statuses of unfinished tasks. Such a task is in a place (waiting in Postgres, in a Redis lane, or
#: held by a worker), and each place has an index that contains no other tasks.
_UNFINISHED = frozenset({Status.PENDING, Status.STARTED, Status.RETRY})
IN_A_PLACE = WhereRaw("(send_at IS NOT NULL OR sent_at IS NOT NULL OR holder IS NOT NULL)")
_HELD = WhereRaw("holder IS NOT NULL")
#: SQL condition: the task belongs to the workflow `{{}}`. Postgres reads the ids of all tasks of the
#: workflow first, and then finds the tasks by their ids.
_AMONG_TASKS_OF = f"""
    "task"."id" = ANY(ARRAY(
        SELECT t.id FROM workflow_step AS s CROSS JOIN {tasks_of_step()} WHERE s.workflow = {{}}
    ))
"""
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
    def is_indexed(self) -> bool:
        """True if an index of today's tasks may find the matching ones without reading many others.

        Past days have more indexes than today.
        """
        return (
            not self.is_filtered
            or self.owner is not None
            or self.workflow is not None
            or (self.status is not None and set(self.status) <= _UNFINISHED)
        )

    @property
    def only_failures(self) -> bool:
        return self.status is not None and set(self.status) == {Status.FAILURE}

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Add the conditions of the filter to a query that finds tasks by an index."""
        return _bounded(query.where(*self.conditions, *self.lookups), Task.id, self.id_bounds)

    @property
    def conditions(self) -> list[Combinable]:
        """The conditions of the filter, without those on the id, which are `id_bounds`."""
        equal: list[tuple[Any, Any]] = [
            (Task.type, self.task_type),
            (Task.owner, self.owner),
            (Task.worker, self.worker),
            (Task.parent, self.parent),
            (Task.workflow, self.workflow),
            (Task.schedule, self.schedule),
            (Task.error_fingerprint, self.fingerprint),
        ]
        found: list[Combinable] = [column == value for column, value in equal if value is not None]
        found += _in_states(self.status or ())
        found += _any_of(Task.name, self.name) + _any_of(Task.queue, self.queue)
        if self.completed_after is not None:
            found.append(Task.completed_at >= self.completed_after)
        if self.completed_before is not None:
            found.append(Task.completed_at < self.completed_before)
        if self.error is not None:
            found.append(Task.error_message.ilike(f"%{_literally(self.error)}%"))
        for documents in self.params.values():
            fits = " OR ".join("params @> {}::text::jsonb" for _ in documents)
            found.append(WhereRaw(f"({fits})", *documents))
        return found

    @property
    def lookups(self) -> list[Combinable]:
        """Conditions that are true for all tasks that meet `conditions`, and by which Postgres finds
        these tasks without reading others.

        A query that reads one task after another must not have them, because it would compare each
        task of the workflow with all ids of the workflow.
        """
        return [] if self.workflow is None else [WhereRaw(_AMONG_TASKS_OF, self.workflow)]

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
        query = query.where(*_any_of(TaskFailure.name, self.name), *_any_of(TaskFailure.queue, self.queue))
        return _bounded(query, TaskFailure.task_id, self.id_bounds)

    @property
    def id_bounds(self) -> tuple[UUID, UUID]:
        """Bounds of the ids of all matching tasks: from the first id to just below the second.

        Only the partitions of these days are read. A task is created before it ends, and after its
        parent.
        """
        completed = None if self.completed_before is None else _later(self.completed_before)
        ends = [end for end in (self.created_before, completed) if end is not None]
        first, end = ids_between(self.created_after, min(ends, default=None))
        if self.parent is not None:
            first = max(first, first_uuid7(moment_of(self.parent) - CLOCKS_APART))
        return first, end


def _later(moment: datetime) -> datetime:
    """The time plus CLOCKS_APART, but at most the latest possible time."""
    return moment + min(CLOCKS_APART, datetime.max.replace(tzinfo=UTC) - moment)


def owned(owner: int | None) -> list[Combinable]:
    """The condition that limits a query to tasks of this account. Empty if `owner` is None."""
    return [] if owner is None else [Task.owner == owner]


def _bounded(query: Select[Any], column: Any, bounds: tuple[UUID, UUID]) -> Select[Any]:
    """Add the bounds of an id to a query."""
    first, end = bounds
    if first != FIRST_ID:
        query = query.where(column >= first)
    return query if end == LAST_ID else query.where(column < end)


def _in_states(states: Sequence[Status]) -> list[Combinable]:
    """The conditions on the status.

    A condition on the place is among them, so that Postgres finds few unfinished tasks among many
    others by an index.
    """
    if not states:
        return []
    found: list[Combinable] = [Task.status.is_in([state.value for state in states])]
    if set(states) == {Status.STARTED}:
        return [*found, _HELD]
    return [*found, IN_A_PLACE] if set(states) <= _UNFINISHED else found


def _any_of(column: Any, values: Sequence[Any] | None) -> list[Combinable]:
    return [column.is_in(list(values))] if values else []


def _literally(text: str) -> str:
    """Escape the characters that have a special meaning in the SQL operator LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
