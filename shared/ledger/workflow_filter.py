"""Defines the filter for lists of workflows and for bulk operations on workflows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from piccolo.query.methods.select import Select

from shared.ledger.ids import first_uuid7, ids_between
from shared.ledger.workflow_tables import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFilter:
    """A filter for workflows.

    A field that is None does not filter. If a field has several values, a workflow with any of them
    matches.
    """

    status: Sequence[str] | None = None
    name: Sequence[str] | None = None
    owner: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Add the conditions of the filter to a query. Creation times become bounds of the id."""
        several: list[tuple[Any, Sequence[str] | None]] = [
            (Workflow.status, self.status),
            (Workflow.name, self.name),
        ]
        for column, values in several:
            if values:
                query = query.where(column.is_in(list(values)))
        if self.owner is not None:
            query = query.where(Workflow.owner == self.owner)
        if self.created_after is not None:
            query = query.where(Workflow.id >= first_uuid7(self.created_after))
        if self.created_before is not None:
            query = query.where(Workflow.id < first_uuid7(self.created_before))
        return query

    @property
    def id_bounds(self) -> tuple[UUID, UUID]:
        """Bounds of the ids of matching workflows: from the first id to just below the second."""
        return ids_between(self.created_after, self.created_before)
