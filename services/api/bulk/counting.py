"""Counts the tasks or workflows that a bulk operation would change: exactly up to 10,000, and
within the time limit for lists.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw

from services.api.reads import PLANNED_ANEW, Reads, ReadTooSlow
from services.api.tasks.search import BUDGET_S, Search
from shared.bulk.act import Kind
from shared.bulk.matches import Matches
from shared.ledger.task_tables import Task
from shared.ledger.workflow_tables import Workflow

MAX_COUNT = 10_000
SAMPLE = 10
#: The number of matches may change by this share between the preview and the start of an operation.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Count:
    """The number of tasks or workflows that match the filter of a bulk operation, and a sample of
    them.
    """

    number: int
    #: True if `number` is the exact number of matches; False if there are more.
    is_exact: bool
    #: Rows of the newest matching tasks or workflows.
    sample: list[dict[str, Any]]

    def differs_from(self, expected: int, *, was_exact: bool) -> bool:
        """True if clearly more or fewer rows match than `expected`, the count of the preview.

        Counting stops early when there are too many matches, and then the count is only a lower
        bound. A larger count now proves nothing if the count of the preview was such a bound. A
        smaller count now proves nothing if it is such a bound itself.
        """
        more = was_exact and self.number > expected * (1 + TOLERANCE)
        return more or (self.is_exact and self.number < expected * (1 - TOLERANCE))


async def count(reads: Reads, matches: Matches, until: UUID, today: datetime) -> Count:
    """Count the matching tasks or workflows whose ids are below `until`. Raises ReadTooSlow."""
    if matches.kind is Kind.WORKFLOW:
        return await _workflows(reads, matches, until)
    search = Search(
        reads,
        columns=[Task.id],
        conditions=matches.conditions,
        lookups=matches.lookups,
        ids=matches.id_bounds,
        limit=MAX_COUNT + 1,
        below=until,
        is_filtered=True,
        is_indexed=matches.is_indexed,
    )
    if matches.only_failures:
        found = await search.among_failures(matches.failures())
    else:
        found = await search.everywhere(today)
    return await _count(reads, matches, found.rows, is_complete=found.is_complete)


async def _workflows(reads: Reads, matches: Matches, until: UUID) -> Count:
    query = matches.select(Workflow.id).where(Workflow.id < until).order_by(Workflow.id, ascending=False)
    async with reads.search() as has_turn:
        limited = query.limit(MAX_COUNT + 1)
        rows = await reads.within(BUDGET_S, limited, PLANNED_ANEW) if has_turn else None
    if rows is None:
        raise ReadTooSlow(BUDGET_S)
    return await _count(reads, matches, rows, is_complete=True)


async def _count(reads: Reads, matches: Matches, rows: list[dict[str, Any]], *, is_complete: bool) -> Count:
    table, number = matches.table, min(len(rows), MAX_COUNT)
    newest = WhereRaw("id = ANY({}::uuid[])", [row["id"] for row in rows[:SAMPLE]])
    sample = table.select(table.id, table.name, table.status, table.owner, table.created_at).where(newest)
    shown = await reads.select(sample.order_by(table.id, ascending=False)) if rows else []
    return Count(number, is_complete and len(rows) <= MAX_COUNT, shown)
