"""Selects the tasks or workflows that a bulk operation changes.

These are the ones that match its filter and allow its action. The preview counts them, and the
worker reads them chunk by chunk. Both use the same queries.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw
from piccolo.custom_types import Combinable
from piccolo.query.methods.select import Select

from shared.bulk.act import Action, Kind
from shared.ledger import task_filter
from shared.ledger.lifecycle import ErrorKind, Status
from shared.ledger.task_filter import TaskFilter
from shared.ledger.task_tables import Task
from shared.ledger.workflow_filter import WorkflowFilter
from shared.ledger.workflow_tables import Workflow

#: SQL condition for a cancellation: the task or workflow has not been asked to end yet.
_NOT_ASKED = WhereRaw("cancel_requested_at IS NULL")
_UNFINISHED = WhereRaw("completed_at IS NULL")
#: Statuses of the tasks and workflows that can be retried.
_FAILED = [Status.FAILURE.value, Status.REVOKED.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Selects the tasks or workflows that match a filter and allow an action."""

    kind: Kind
    action: Action
    filter: TaskFilter | WorkflowFilter
    #: Account to whose tasks or workflows the selection is limited. None means that those of all
    #: accounts can match.
    owner: int | None

    def select(self, *columns: Any) -> Select[Any]:
        """Build a query that returns these columns of the matching tasks or workflows."""
        if isinstance(self.filter, WorkflowFilter):
            query = self.filter.apply(Workflow.select(*columns))
            if self.action is Action.CANCEL:
                query = query.where(_UNFINISHED).where(_NOT_ASKED)
            else:
                query = query.where(Workflow.status.is_in(_FAILED))
            return query if self.owner is None else query.where(Workflow.owner == self.owner)
        return self.filter.apply(Task.select(*columns)).where(*self._beside_filter)

    @property
    def conditions(self) -> list[Combinable]:
        """The conditions for tasks, without those on the id, which are `id_bounds`."""
        assert isinstance(self.filter, TaskFilter)
        return [*self.filter.conditions, *self._beside_filter]

    @property
    def lookups(self) -> list[Combinable]:
        """Conditions for queries that find tasks by an index (see `TaskFilter`)."""
        assert isinstance(self.filter, TaskFilter)
        return self.filter.lookups

    @property
    def _beside_filter(self) -> list[Combinable]:
        return [*_fitting_tasks(self.action), *task_filter.owned(self.owner)]

    @property
    def is_indexed(self) -> bool:
        """True if an index of today's tasks may find the matching ones (see `TaskFilter`).

        All actions but a retry are for tasks in a place, which has an index, or for failed ones,
        which have a table.
        """
        assert isinstance(self.filter, TaskFilter)
        return self.action is not Action.RETRY or self.owner is not None or self.filter.is_indexed

    @property
    def only_failures(self) -> bool:
        """True if only failed tasks can match.

        `failures` then finds the matching tasks without reading other tasks.
        """
        if isinstance(self.filter, WorkflowFilter):
            return False
        return self.action is Action.RELEASE or self.filter.only_failures

    def failures(self) -> Select[Any]:
        """Build a query for the failed tasks that may match, which reads the table of failures."""
        assert isinstance(self.filter, TaskFilter)
        return self.filter.failures(self.owner)

    @property
    def table(self) -> type[Task] | type[Workflow]:
        return Workflow if self.kind is Kind.WORKFLOW else Task

    @property
    def id_bounds(self) -> tuple[UUID, UUID]:
        """Bounds of the ids of all matches: from the first id to just below the second."""
        return self.filter.id_bounds


def _fitting_tasks(action: Action) -> list[Combinable]:
    """The conditions for tasks on which an action is allowed."""
    match action:
        case Action.RETRY:
            return [Task.status.is_in(_FAILED)]
        case Action.CANCEL:
            return [task_filter.IN_A_PLACE, _NOT_ASKED]
        case Action.RUN_NOW:
            return [WhereRaw("send_at > now()")]
        case Action.RELEASE:
            status = Task.status == Status.FAILURE.value
            return [status, Task.error_kind == ErrorKind.CRASH_LOOP.value]
        case Action.CHANGE:
            return [WhereRaw("(send_at IS NOT NULL OR sent_at IS NOT NULL)")]
