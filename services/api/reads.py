"""Reads that may be slow: lists, searches and counts over many rows.

They have connections of their own: however many of them run, submissions and health checks find a free one.
A read that takes too long is refused as such, because Postgres answers and only this question is too large.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from piccolo.query.methods.select import Select

from services.api.http.refusals import Refusal
from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import connections, sqlstate
from shared.ledger.database import Database
from shared.ledger.statement import Statement

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
