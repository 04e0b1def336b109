"""Counts the waiting tasks of each account: in Postgres at most once a second, and in memory in
between.

If an account is far from its limit, a single task is accepted by the count in memory. A batch of
tasks, and a refusal, use a count from Postgres that is at most a second old.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Seconds for which a count from Postgres is used.
FRESH_S = 1.0
#: Seconds for which an account is remembered after its last submission. This must be longer than
#: one count takes.
KEPT_S = 60.0
#: Maximum number of waiting tasks that are counted per account. A quota of waiting tasks should not
#: be higher.
MOST = 1_000_000

#: Counts the waiting tasks of each account, whether they are in Postgres only or already sent to a
#: lane. Uses the index task_waiting.
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
    """What this process knows about the waiting tasks of one account."""

    counted: int = 0
    #: Number of the account's tasks that were submitted through this process since the last count
    #: in Postgres began.
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
    """The counts of waiting tasks that one process keeps, by account."""

    def __init__(self, database: Database) -> None:
        """`database` should be opened with `by_index`, so that Postgres uses an index although it
        has no statistics for a new day yet.
        """
        self._database = database
        self._accounts: dict[int, _Known] = {}
        self._counting: dict[int, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def take(self, account: int, amount: int, limit: int) -> int | None:
        """Add tasks to an account's count of waiting tasks. Returns None if the limit allows them,
        otherwise the number that already wait.
        """
        known = self._of(account)
        if (amount > 1 or known.total + amount > limit) and not known.is_fresh:
            await self._count_once(account)
        if known.total + amount > limit:
            return known.total
        known.since += amount
        return None

    def give_back(self, account: int, amount: int) -> None:
        """Subtract tasks from the account's count, because they were not stored."""
        if account in self._accounts:
            self._accounts[account].since -= amount

    async def read(self, account: int) -> int:
        """Return the number of the account's waiting tasks. Raises ServerUnavailable."""
        await self._count([account])
        return self._of(account).total

    async def refresh(self) -> None:
        """Count the waiting tasks of all accounts that have submitted tasks since their last count.
        Called each second.
        """
        before = time.monotonic() - KEPT_S
        for account in [each for each, known in self._accounts.items() if known.used_at < before]:
            del self._accounts[account]
        busy = [each for each, known in self._accounts.items() if known.since]
        if busy:
            await self._count(busy)

    async def _count_once(self, account: int) -> None:
        """Count the account's waiting tasks in Postgres, once for all requests that wait for this
        count. If that fails, the count in memory is used.
        """
        if account not in self._counting:
            task = self._counting[account] = asyncio.create_task(self._count([account]))
            task.add_done_callback(lambda done: self._has_counted(account, done))
        with contextlib.suppress(ServerUnavailable):
            await asyncio.shield(self._counting[account])

    def _has_counted(self, account: int, done: "asyncio.Task[None]") -> None:
        del self._counting[account]
        if not done.cancelled():
            done.exception()  # Marks the error as seen, as all waiting requests may be gone

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
