"""Reads the tasks or workflows that match a bulk operation, page by page in the order of ids."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw
from piccolo.query.methods.select import Select

from shared.bulk.matches import Matches
from shared.contracts.context import Sql
from shared.ledger.task_tables import Task, TaskFailure

#: Maximum number of ids that one page examines, which takes some 25 ms. It keeps the transaction,
#: and its lock on the bulk operation, short even if few rows match.
STRETCH = 50_000
#: A page first examines this many ids for each row that it may return. As long as it has too few
#: matches, it examines another range of ids, longer by the same factor. If most ids match or the
#: rate is low, the first range is enough.
GROWTH = 5
#: Maximum number of failed tasks that one page examines.
FAILURES = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page of matching tasks or workflows."""

    #: The matching rows with their ids. A task's row also has the id of its workflow.
    rows: list[dict[str, Any]]
    #: All matching rows up to this id are in `rows` or were in an earlier page.
    reached: UUID
    is_last: bool


async def read(database: Sql, matches: Matches, *, after: UUID, until: UUID, limit: int) -> Page:
    """Read one page: at most `limit` matching rows with ids between `after` and `until`."""
    if matches.only_failures:
        return await _failures(database, matches, after, until, limit)
    page, rest, stretch = Page([], after, is_last=False), STRETCH, GROWTH * limit
    while rest > 0 and not page.is_last and len(page.rows) < limit:
        stretch = min(stretch, rest)
        further = await _stretch(database, matches, page.reached, until, limit - len(page.rows), stretch)
        page = Page([*page.rows, *further.rows], further.reached, further.is_last)
        rest, stretch = rest - stretch, GROWTH * stretch
    return page


async def _stretch(
    database: Sql, matches: Matches, after: UUID, until: UUID, limit: int, length: int
) -> Page:
    """Read at most `limit` matching rows among the next `length` ids."""
    table = matches.table
    ids = table.select(table.id).where(table.id > after).where(table.id < until)
    ends = await _run(database, ids.order_by(table.id).offset(length - 1).limit(1))
    query = _select(matches).where(table.id > after)
    query = query.where(table.id <= ends[0]["id"]) if ends else query.where(table.id < until)
    rows = await _run(database, query.order_by(table.id).limit(limit))
    if len(rows) == limit:
        return Page(rows, rows[-1]["id"], is_last=False)
    return Page(rows, ends[0]["id"] if ends else after, is_last=not ends)


async def _failures(database: Sql, matches: Matches, after: UUID, until: UUID, limit: int) -> Page:
    task_id = TaskFailure.task_id
    candidates = matches.failures().where(task_id > after).where(task_id < until)
    found = await _run(database, candidates.order_by(task_id).limit(FAILURES))
    if not found:
        return Page([], after, is_last=True)
    ids = [row["task_id"] for row in found]
    query = _select(matches).where(WhereRaw("id = ANY({}::uuid[])", ids))
    rows = await _run(database, query.order_by(Task.id).limit(limit))
    if len(rows) == limit:
        return Page(rows, rows[-1]["id"], is_last=False)
    return Page(rows, ids[-1], is_last=len(found) < FAILURES)


def _select(matches: Matches) -> Select[Any]:
    table = matches.table
    return matches.select(Task.id, Task.workflow) if table is Task else matches.select(table.id)


async def _run(database: Sql, query: Select[Any]) -> list[dict[str, Any]]:
    text, values = query.default_querystrings[0].compile_string()
    return await database.run(text, *values)
