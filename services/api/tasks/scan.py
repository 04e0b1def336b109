"""The SQL of a scan: a statement that reads one task after another, newest first, until its page is
full or its time is over.

When the time is over, every further task meets its condition, so that Postgres soon has enough rows
and stops. A column distinguishes these tasks from matching ones.
"""

import functools
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from piccolo.columns import JSON
from piccolo.columns.combination import And, WhereRaw
from piccolo.custom_types import Combinable
from piccolo.query.methods.select import Select
from piccolo.querystring import QueryString

from shared.ledger.task_tables import Task, TaskFailure

#: Name of the column that is true for tasks that meet the conditions of the search.
MATCHES = "is_match"
#: The condition that a scan adds to those of the search: its time is over.
_IS_LATE = "clock_timestamp() >= statement_timestamp() + make_interval(secs => {}::float8)"
#: Placeholders for the values that differ between the scans of one search.
_BELOW, _FLOOR, _SECONDS = object(), object(), object()


class Scan:
    """The statement for all scans of one search.

    It is built once, because Piccolo needs about 1 ms for it, and all other requests of the process
    wait that long.
    """

    def __init__(
        self,
        *,
        columns: Sequence[Any],
        conditions: Sequence[Combinable],
        failures: Select[Any] | None,
        limit: int,
    ) -> None:
        """Build the statement.

        It reads all tasks, or only those whose ids the query `failures` on `task_failure` finds, to
        which it adds a condition. It returns at most `limit` rows, with the given columns and
        `MATCHES`. Documents of tasks that do not match, which may be large, are left out.
        """
        wanted = functools.reduce(And, conditions) if conditions else WhereRaw("TRUE")
        matches = QueryString("({})", wanted.querystring, alias=MATCHES)
        query = Task.select(*(_if(wanted, column) for column in columns), matches)
        query = query.where(Task.id < _BELOW).where(Task.id >= _FLOOR)
        if failures is not None:
            ids = failures.where(TaskFailure.task_id < _BELOW)
            query = query.where(WhereRaw('"task"."id" IN ({})', ids.querystrings[0]))
        query = query.where(WhereRaw(f"({{}} OR {_IS_LATE})", wanted.querystring, _SECONDS))
        query = query.order_by(Task.id, ascending=False).limit(limit)
        self.sql, self._values = query.querystrings[0].compile_string()

    def values(self, *, below: UUID, floor: UUID, seconds: float) -> list[Any]:
        """Return the values for a scan from just below the id `below` down to the id `floor`, which
        may read tasks for this long.
        """
        given = {_BELOW: below, _FLOOR: floor, _SECONDS: seconds}
        return [given[value] if type(value) is object else value for value in self._values]


def _if(wanted: Combinable, column: Any) -> Any:
    """Return null instead of a document if the task does not meet the conditions."""
    if not isinstance(column, JSON):
        return column
    name = column._meta.name
    return QueryString(f'CASE WHEN ({{}}) THEN "task"."{name}" END', wanted.querystring, alias=name)
