"""Runs database reads that may be slow, such as lists, searches and counts over many rows.

They have separate connections, so that submissions and health checks always find free ones. A read
that takes too long raises an error of its own, because Postgres works and only this query is too
large.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from piccolo.query.methods.select import Select

from services.api.http.refusals import Refusal
from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import connections, session, sqlstate
from shared.ledger.database import Database
from shared.ledger.session import Connection, Session
from shared.ledger.statement import Statement
from shared.ledger.time_limit import SERVER_MARGIN_S, STATEMENT_TIMEOUT_S

Fetch = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
#: Session settings of Postgres that decide how a statement is planned.
Plan = Mapping[str, str]

#: Applies settings to the open transaction. $1 are their names, $2 their values.
SET = "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS s (name, value)"
#: Parallel workers are off, because a single read could then keep several processors busy.
ALONE = {"max_parallel_workers_per_gather": "0"}
#: Seconds for which a search waits for its turn. One process runs only one search at a time: a search
#: may read any number of rows, so it keeps a processor of Postgres busy, which submissions need.
#: Twelve searches at once on a machine with two processors made submissions fifteen times slower.
SEARCH_WAIT_S = 5.0
#: Makes Postgres plan each query for its values, which takes some milliseconds. A generic plan
#: would assume that a rare name is of average frequency.
PLANNED_ANEW: Plan = ALONE | {"plan_cache_mode": "force_custom_plan"}
#: Makes Postgres read rows in the order of an index. Otherwise, as long as a new day has no
#: statistics, it would collect all tasks of an owner and sort them.
IN_ORDER: Plan = ALONE | {"enable_sort": "off"}
#: The same for a query that finds tasks by a subquery, which Postgres then reads first, in its order.
SCANNED: Plan = {**IN_ORDER, "enable_hashjoin": "off", "enable_mergejoin": "off"}
PLANNED: Plan = ALONE
#: Makes Postgres plan a statement once for each connection, and read by indexes only.
PROBED: Plan = ALONE | session.BY_INDEX
#: Seconds after which Postgres cancels a scan. It reads tasks for 0.4 s and stops by itself, but it may
#: have to be planned before, and then reads as many tasks as it may return: up to 10,001 for a count,
#: which takes about 0.5 s.
SCAN_LIMIT_S = 1.0
#: The session of scans. It has all settings that a scan needs, so a scan takes one round trip. A
#: transaction with settings of its own would take four, and each of them delays submissions.
SCANS = Session(
    "api-scans",
    {**session.settings(SCAN_LIMIT_S + SERVER_MARGIN_S), **SCANNED},
    Connection,
    STATEMENT_TIMEOUT_S,
)
#: The name of this pool's database engine in Piccolo. The tables are bound to another pool.
_NODE = "reads"


class ReadTooSlow(Refusal):
    """Raised when a list, a search or a count took longer than the time limit of reads."""

    status, kind = 504, "read-too-slow"

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"This took longer than {limit_s:g} s. Narrow the search (fewer days with created_after and "
            "created_before, one name or queue), or repeat it when fewer searches are running."
        )


class Reads:
    """The connection pools for slow reads, separate from the one for other requests. Creating an
    instance opens no connection.
    """

    def __init__(self, url: str, requests: Database) -> None:
        self._database = Database.for_service(url, "api-reads")
        self._scans = Database(url, SCANS)
        #: Held by the search that runs, and by the long search that runs or is the next one.
        self._running, self._next = asyncio.Lock(), asyncio.Lock()
        requests.engine.extra_nodes = {**requests.engine.extra_nodes, _NODE: self._database.engine}

    async def open(self) -> None:
        await self._database.open(size=connections.API_READ_POOL)
        await self._scans.open(size=connections.API_SCAN_POOL)

    async def close(self) -> None:
        await asyncio.gather(self._database.close(), self._scans.close())

    async def select(self, query: Select[Any]) -> list[dict[str, Any]]:
        """Return the rows of a Piccolo query. Raises ReadTooSlow or ServerUnavailable."""
        async with self._in_time():
            return await self._database.answered(query.run(node=_NODE))

    @asynccontextmanager
    async def search(self) -> AsyncIterator[bool]:
        """Wait for a turn to search, and hold it inside this context.

        Yields False if there was no turn in time. The caller should then read very little, because
        many others are searching.
        """
        async with self._turn(self._next, self._running) as has_turn:
            yield has_turn

    @asynccontextmanager
    async def look(self) -> AsyncIterator[bool]:
        """Wait for a turn to search for a few milliseconds, as `search` does.

        It waits for other looks, for the search that runs and for at most one more, not for all
        searches that wait.
        """
        async with self._turn(self._running) as has_turn:
            yield has_turn

    @asynccontextmanager
    async def _turn(self, *locks: asyncio.Lock) -> AsyncIterator[bool]:
        """Hold all these locks inside this context. Yields False, and holds none, if that takes too
        long.
        """
        async with AsyncExitStack() as held:
            has_turn = True
            try:
                async with asyncio.timeout(SEARCH_WAIT_S):
                    for lock in locks:
                        await held.enter_async_context(lock)
            except TimeoutError:
                await held.aclose()
                has_turn = False
            yield has_turn

    async def within(self, limit_s: float, query: Select[Any], plan: Plan) -> list[dict[str, Any]] | None:
        """Return the rows of a Piccolo query, or None if it takes longer than the given time or no
        connection is free.

        A query without an index that yields its rows in the wanted order belongs to a search (see
        `search`). Raises ServerUnavailable.
        """
        return await self._within(limit_s, lambda: query.run(node=_NODE), plan)

    async def scan(self, sql: str, values: Sequence[Any]) -> list[dict[str, Any]] | None:
        """Return the rows of a scan (see `tasks.scan`), or None if it does not stop in time.

        The caller must hold a turn to search, because only one scan at a time has a connection.
        Raises ServerUnavailable.
        """
        return await _rows_within(self._scans, SCAN_LIMIT_S, lambda: self._scans.engine.fetch(sql, values))

    async def scan_little(self, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the rows of a scan that reads few tasks, for a search whose time is over or that has
        no turn. Only the time limit of all reads applies.

        Raises ReadTooSlow or ServerUnavailable.
        """
        limit_s = self._database.limit_s
        rows = await self._within(limit_s, lambda: self._database.engine.fetch(sql, values), SCANNED)
        if rows is None:
            raise ReadTooSlow(limit_s)
        return rows

    async def run_within(self, limit_s: float, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        """Return the rows of one statement, which must finish within the given time. Raises
        ReadTooSlow or ServerUnavailable.
        """
        return await self._run_within(limit_s, statement, PLANNED, values)

    async def probe_within(self, limit_s: float, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        """The same for a statement that reads few rows by indexes. Postgres plans it once for each
        connection. Planning it each time would take longer than executing it, because the tables
        have many partitions.
        """
        return await self._run_within(limit_s, statement, PROBED, values)

    async def probe(self, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        """The same within the time limit of all reads."""
        return await self.probe_within(self._database.limit_s, statement, **values)

    async def _run_within(
        self, limit_s: float, statement: Statement, plan: Plan, values: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        rows = await self._within(
            limit_s, lambda: self._database.engine.fetch(statement.sql, statement.values(values)), plan
        )
        if rows is None:
            raise ReadTooSlow(limit_s)
        return rows

    async def _within(self, limit_s: float, fetch: Fetch, plan: Plan) -> list[dict[str, Any]] | None:
        """Run a read with settings of its own. Returns None if it takes longer than the given time."""
        limited = {"statement_timeout": str(max(1, int(limit_s * 1000))), **plan}

        async def fetched() -> Sequence[Mapping[str, Any]]:
            async with self._database.transaction():
                await self._database.engine.fetch(SET, [list(limited), list(limited.values())])
                return await fetch()

        return await _rows_within(self._database, limit_s, fetched)

    async def run(self, sql: str | Statement, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Return the rows of one statement. Raises ReadTooSlow or ServerUnavailable."""
        async with self._in_time():
            return await self._database.run(sql, *values, **named)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Raise ReadTooSlow in place of an error that means that this read took too long."""
        try:
            yield
        except ServerUnavailable as error:
            if not _took_too_long(error):
                raise
            raise ReadTooSlow(self._database.limit_s) from error


async def _rows_within(database: Database, limit_s: float, fetch: Fetch) -> list[dict[str, Any]] | None:
    """Return the rows of a read, or None if it takes longer than the given time or no connection is
    free.

    If Postgres cancels the statement because of its time limit, Postgres still counts as available.
    """
    try:
        async with database.translated(), asyncio.timeout(limit_s + SERVER_MARGIN_S):
            try:
                return [dict(row) for row in await fetch()]
            except asyncpg.QueryCanceledError:
                return None
    except ServerUnavailable as error:
        if not _took_too_long(error):
            raise
        return None


def _took_too_long(error: ServerUnavailable) -> bool:
    """True if the error means that this read took too long: Postgres canceled the statement, or the
    read got no connection or no answer in time.

    A moment ago, the same Postgres identified the caller, so Postgres is available and the error is
    caused by this read alone.
    """
    canceled = isinstance(error, ServerRefuses) and error.sqlstate == sqlstate.QUERY_CANCELED
    return canceled or isinstance(error.__cause__, TimeoutError)
