"""Reads that may be slow: lists, searches and counts over many rows.

They have connections of their own: however many of them run, submissions and health checks find a free one.
A read that takes too long is refused as such, because Postgres answers and only this question is too large.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from piccolo.query.methods.select import Select

from services.api.http.refusals import ReadTooSlow
from shared.errors import ServerAway, ServerRefuses
from shared.ledger import connections, sqlstate
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: What Piccolo calls this pool beside the one to which the tables are bound.
_NODE = "reads"


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

    async def run(self, sql: str | Statement, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """The rows of one statement. Raises ReadTooSlow or ServerUnavailable."""
        async with self._in_time():
            return await self._database.run(sql, *values, **named)

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            yield
        except ServerRefuses as error:
            if error.sqlstate != sqlstate.QUERY_CANCELED:
                raise
            raise ReadTooSlow(self._database.limit_s) from error
        except ServerAway as error:
            # The caller was identified by this Postgres a moment ago, so only this read got no answer.
            if not isinstance(error.__cause__, TimeoutError):
                raise
            raise ReadTooSlow(self._database.limit_s) from error
