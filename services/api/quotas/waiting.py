"""How many tasks of an account wait: counted in Postgres at most once a second, and counted on in between.

A single task of an account that is far from its limit is accepted by what is known. A refusal, and a batch,
rest on a count that is at most a second old.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: A count is used for this long.
FRESH_S = 1.0
#: An account that submits nothing for this long is forgotten. Longer than a count may take.
KEPT_S = 60.0
#: More rows than this of one account are not counted; no limit should be higher.
MOST = 1_000_000

#: Counts the tasks of each account that wait in Postgres or in a lane, by the index task_waiting.
COUNT = Statement("""
    SELECT given.owner, found.waiting FROM unnest(:owners::bigint[]) AS given(owner), LATERAL (
        SELECT count(*) AS waiting FROM (
            SELECT FROM task AS t
            WHERE t.owner = given.owner AND t.holder IS NULL AND t.completed_at IS NULL LIMIT :most::bigint
        ) AS w
    ) AS found
""")


@dataclass(slots=True)
class _Known:
    """What this process knows of one account."""

    counted: int = 0
    #: Submitted through this process since the count began.
    since: int = 0
    counted_at: float = float("-inf")
    used_at: float = 0.0

    @property
    def total(self) -> int:
        return max(0, self.counted + self.since)

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.counted_at < FRESH_S


class Waiting:
    """The counts of one process."""

    def __init__(self, database: Database) -> None:
        """The database should find rows `by_index`, whatever Postgres knows of a day that has just begun."""
        self._database = database
        self._accounts: dict[int, _Known] = {}
        self._counting: dict[int, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def take(self, account: int, amount: int, limit: int) -> int | None:
        """Add to what waits. Returns how many wait when these would be too many; None when they fit."""
        known = self._of(account)
        if (amount > 1 or known.total + amount > limit) and not known.is_fresh:
            await self._count_once(account)
        if known.total + amount > limit:
            return known.total
        known.since += amount
        return None

    def give_back(self, account: int, amount: int) -> None:
        """These were not stored."""
        if account in self._accounts:
            self._accounts[account].since -= amount

    async def read(self, account: int) -> int:
        """How many wait. Raises ServerUnavailable."""
        await self._count([account])
        return self._of(account).total

    async def refresh(self) -> None:
        """Count for the accounts that submitted since the last count. To be repeated each second."""
        before = time.monotonic() - KEPT_S
        for account in [each for each, known in self._accounts.items() if known.used_at < before]:
            del self._accounts[account]
        busy = [each for each, known in self._accounts.items() if known.since]
        if busy:
            await self._count(busy)

    async def _count_once(self, account: int) -> None:
        """Share the count with the other requests that wait for it; go on by what is known if it fails."""
        if account not in self._counting:
            task = self._counting[account] = asyncio.create_task(self._count([account]))
            task.add_done_callback(lambda done: self._has_counted(account, done))
        with contextlib.suppress(ServerUnavailable):
            await asyncio.shield(self._counting[account])

    def _has_counted(self, account: int, done: "asyncio.Task[None]") -> None:
        del self._counting[account]
        if not done.cancelled():
            done.exception()  # the requests that waited for it may have been given up

    async def _count(self, accounts: Sequence[int]) -> None:
        async with self._one_at_a_time:
            known = [self._of(account) for account in accounts]
            before = [each.since for each in known]
            began = time.monotonic()
            rows = await self._database.run(COUNT, owners=list(accounts), most=MOST)
            by_account = {row["owner"]: row["waiting"] for row in rows}
            for account, each, counted_before in zip(accounts, known, before, strict=True):
                each.counted, each.counted_at = by_account[account], began
                each.since -= counted_before

    def _of(self, account: int) -> _Known:
        known = self._accounts.setdefault(account, _Known())
        known.used_at = time.monotonic()
        return known
