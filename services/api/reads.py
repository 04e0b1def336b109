"""Reads that may be slow: lists, searches and counts over many rows.

They have connections of their own: however many of them run, submissions and health checks find a free one.
A read that takes too long is refused as such, because Postgres answers and only this question is too large.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from piccolo.query.methods.select import Select

from services.api.http.refusals import Refusal
from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import connections, sqlstate
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.time_limit import SERVER_MARGIN_S

Fetch = Callable[[], Awaitable[list[dict[str, Any]]]]

#: Limits the statements of the open transaction. $1: milliseconds, as text.
LIMIT = "SELECT set_config('statement_timeout', $1, true)"
#: What Piccolo calls this pool beside the one to which the tables are bound.
_NODE = "reads"


class ReadTooSlow(Refusal):
    """A list, a search or a count took longer than a read may take."""

    status, kind = 504, "read-too-slow"

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"This took longer than {limit_s:g} s. Narrow the search (fewer days with created_after and "
            "created_before, one name or queue), or repeat it when fewer of its kind are running."
        )


class Reads:
    """A pool beside that of the requests. Building it connects to nothing."""

    def __init__(self, url: str, requests: Database) -> None:
        self._database = Database.for_service(url, "api-reads")
        requests.engine.extra_nodes = {**requests.engine.extra_nodes, _NODE: self._database.engine}

    async def open(self) -> None:
        await self._database.open(size=connections.API_READ_POOL)

    async def close(self) -> None:
        await self._database.close()

    async def select(self, query: Select[Any]) -> list[dict[str, Any]]:
        """The rows of one of Piccolo's queries. Raises ReadTooSlow or ServerUnavailable."""
        async with self._in_time():
            return await self._database.answered(query.run(node=_NODE))

    async def within(self, limit_s: float, query: Select[Any]) -> list[dict[str, Any]] | None:
        """The rows of one of Piccolo's queries; None when they take longer, or no connection is free.

        Raises ServerUnavailable.
        """
        return await self._within(limit_s, lambda: query.run(node=_NODE))

    async def run_within(self, limit_s: float, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        """The rows of one statement. Raises ReadTooSlow or ServerUnavailable."""
        rows = await self._within(
            limit_s, lambda: self._database.engine.fetch(statement.sql, statement.values(values))
        )
        if rows is None:
            raise ReadTooSlow(limit_s)
        return [dict(row) for row in rows]

    async def _within(self, limit_s: float, fetch: Fetch) -> list[dict[str, Any]] | None:
        try:
            async with self._database.translated(), asyncio.timeout(limit_s + SERVER_MARGIN_S):
                return await self._limited(limit_s, fetch)
        except ServerUnavailable as error:
            if not _took_too_long(error):
                raise
            return None

    async def _limited(self, limit_s: float, fetch: Fetch) -> list[dict[str, Any]] | None:
        """Postgres itself cancels it, which is no refusal: this end asked for it."""
        try:
            async with self._database.transaction():
                await self._database.engine.fetch(LIMIT, [str(max(1, int(limit_s * 1000)))])
                return await fetch()
        except asyncpg.QueryCanceledError:
            return None

    async def run(self, sql: str | Statement, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """The rows of one statement. Raises ReadTooSlow or ServerUnavailable."""
        async with self._in_time():
            return await self._database.run(sql, *values, **named)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            yield
        except ServerUnavailable as error:
            if not _took_too_long(error):
                raise
            raise ReadTooSlow(self._database.limit_s) from error


def _took_too_long(error: ServerUnavailable) -> bool:
    """Postgres canceled the statement, or it got no connection or no answer in time.

    The caller was identified by this Postgres a moment ago, so only this read is to blame.
    """
    canceled = isinstance(error, ServerRefuses) and error.sqlstate == sqlstate.QUERY_CANCELED
    return canceled or isinstance(error.__cause__, TimeoutError)
