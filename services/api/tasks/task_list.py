"""Which tasks a list shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from piccolo.query.methods.select import Select

from services.api.identity.rights import Reach, Reader
from shared.ledger.ids import first_uuid7
from shared.ledger.lifecycle import Status
from shared.ledger.tables import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What a reader asks for; None is everything."""

    #: Any of these.
    status: Sequence[Status] | None = None
    task_type: str | None = None
    name: str | None = None
    queue: str | None = None
    owner: int | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    completed_after: datetime | None = None
    completed_before: datetime | None = None
    #: Part of the error's message, in upper or lower case.
    error: str | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Times of creation become bounds of the id, so that only the partitions of those days are read."""
        equal: list[tuple[Any, Any]] = [
            (Task.type, self.task_type),
            (Task.name, self.name),
            (Task.queue, self.queue),
            (Task.owner, self.owner),
        ]
        for column, value in equal:
            if value is not None:
                query = query.where(column == value)
        if self.status:
            query = query.where(Task.status.is_in([status.value for status in self.status]))
        if self.created_after is not None:
            query = query.where(Task.id >= first_uuid7(self.created_after))
        if self.created_before is not None:
            query = query.where(Task.id < first_uuid7(self.created_before))
        if self.completed_after is not None:
            query = query.where(Task.completed_at >= self.completed_after)
        if self.completed_before is not None:
            query = query.where(Task.completed_at < self.completed_before)
        if self.error is not None:
            query = query.where(Task.error_message.ilike(f"%{_literally(self.error)}%"))
        return query


def visible(query: Select[Any], reader: Reader) -> Select[Any]:
    """Only what this reader may see."""
    return query if reader.reach is Reach.ALL else query.where(Task.owner == reader.id)


def _literally(text: str) -> str:
    """Without the meaning that LIKE gives to % and _."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
