"""Runs Piccolo's own queries with the ledger's time-out and translation of errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from shared.ledger import engine

T = TypeVar("T")


async def answered(query: Awaitable[T]) -> T:
    """Raises ServerUnavailable. Piccolo waits for a connection without end, so every query needs this."""
    async with engine.translated(), asyncio.timeout(engine.STATEMENT_TIMEOUT_S):
        return await query


@asynccontextmanager
async def transaction() -> AsyncIterator[None]:
    """A transaction for a few short statements. Raises ServerUnavailable when it takes too long."""
    async with engine.translated(), asyncio.timeout(engine.STATEMENT_TIMEOUT_S), engine.transaction():
        yield
