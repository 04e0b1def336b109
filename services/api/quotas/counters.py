"""Counts what accounts use per time window, first in memory and then in Redis, where all processes
add to the same count.

While an account is far from a limit, a single task is counted in memory, and Redis gets the number
within a second. Any other use is counted in Redis immediately, in one step. If Redis is
unavailable, no request is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import redis.asyncio as redis

from services.api.identity.counting import CountingRedis

#: A limit that no count reaches. It is used for calls that only read and update counters.
_NO_LIMIT = 2**53
MINUTE_S = 60
#: Maximum number of counters in one call of the Redis script. A script can return fewer than 8,000
#: values, and other clients of Redis wait for it.
CHUNK = 500
#: Seconds for which Redis keeps a counter after the end of its window, because clocks of processes
#: differ.
_KEPT_S = 60


class Window(NamedTuple):
    """The time window in which one quota of one account is counted. It lasts until `end`, in
    seconds since 1970.
    """

    key: str
    end: int


class Want(NamedTuple):
    """The amount that one submission takes from one counter, and the limit of that counter."""

    quota: str
    window: Window
    amount: int
    limit: int


@dataclass(slots=True)
class _Counter:
    window: Window
    #: The counter's value in the last answer of Redis.
    known: int = 0
    #: Amount taken by this process that is not part of `known`, because it was not sent to Redis
    #: yet; `sent` is the amount that is on its way.
    unsent: int = 0
    sent: int = 0
    #: Number of calls to Redis for this counter that are not answered yet.
    asked: int = 0

    @property
    def total(self) -> int:
        return max(0, self.known + self.unsent + self.sent)

    def is_needed(self, now: float) -> bool:
        """True if the counter must be kept in memory.

        Once Redis has all amounts, only counters of the current minute are kept, because only they
        are used without asking Redis.
        """
        lasts = self.window.end >= now
        return lasts and bool(self.unsent or self.asked or self.window.end <= now + MINUTE_S)

    def begin(self) -> int:
        """Mark the unsent amount as being on its way to Redis, and return it."""
        amount, self.unsent = self.unsent, 0
        self.sent += amount
        self.asked += 1
        return amount

    def settle(self, amount: int, known: int | None) -> None:
        """Process the answer of Redis to a call that sent `amount`. None means that there was no
        answer, so the amount will be sent again.
        """
        self.sent -= amount
        self.asked -= 1
        if known is None:
            self.unsent += amount
        else:
            self.known = known


def minute(quota: str, account: int, now: float) -> Window:
    """The time window of the current minute, for one quota of one account."""
    return _window(quota, account, now, MINUTE_S)


def day(quota: str, account: int, now: float) -> Window:
    """The time window of the current UTC day, for one quota of one account."""
    return _window(quota, account, now, 86_400)


def _window(quota: str, account: int, now: float, length_s: int) -> Window:
    end = (int(now) // length_s + 1) * length_s
    return Window(f"often:quota:{quota}:{account}:{end}", end)


class Counters:
    """The quota counters of one process. Creating an instance opens no connection."""

    def __init__(self, counting: CountingRedis) -> None:
        self._counting = counting
        client = redis.Redis(connection_pool=counting.pool)
        self._script = client.register_script(files(__package__).joinpath("take.lua").read_text())
        self._counters: dict[str, _Counter] = {}

    def total(self, window: Window) -> int:
        """The amount that was taken in this time window, as far as this process knows."""
        return self._of(window).total

    def note(self, window: Window, amount: int) -> None:
        """Take an amount without asking Redis. A negative amount gives back what was taken."""
        self._of(window).unsent += amount

    async def take(self, wants: Sequence[Want], now: float) -> Want | None:
        """Take all the wanted amounts or none of them. Returns None if they were taken, otherwise
        the first `Want` whose counter has too little left.
        """
        short = await self._ask(wants, now)
        if short is None:  # Redis is unavailable, so the amounts are only counted here
            for want in wants:
                self.note(want.window, want.amount)
        return wants[short - 1] if short else None

    async def read(self, windows: Sequence[Window], now: float) -> None:
        """Update these counters from Redis, which knows what other processes took. If Redis is
        unavailable, the counters stay unchanged.
        """
        if windows:
            await self._ask([Want("", window, 0, _NO_LIMIT) for window in windows], now)

    async def send(self, now: float) -> None:
        """Send amounts that were taken in memory to Redis, and drop counters that are no longer
        needed. Called each second.
        """
        for key in [key for key, counter in self._counters.items() if not counter.is_needed(now)]:
            del self._counters[key]
        noted = [each.window for each in self._counters.values() if each.unsent]
        for start in range(0, len(noted), CHUNK):
            await self.read(noted[start : start + CHUNK], now)

    async def _ask(self, wants: Sequence[Want], now: float) -> int | None:
        """Run the Redis script. Returns 0 if all amounts were taken, or the number of the first
        counter that has too little left, counted from 1. Returns None if Redis is unavailable.
        """
        counters = [self._of(want.window) for want in wants]
        amounts = [counter.begin() for counter in counters]
        arguments = [
            value
            for want, amount in zip(wants, amounts, strict=True)
            for value in (amount, want.amount, want.limit, _kept_s(want.window, now))
        ]
        keys = [want.window.key for want in wants]
        answer: list[int] | None = None
        try:
            answer = await self._counting.ask(lambda: self._script(keys=keys, args=arguments))
        finally:
            totals = [None] * len(wants) if answer is None else answer[1:]
            for counter, amount, total in zip(counters, amounts, totals, strict=True):
                counter.settle(amount, total)
        return None if answer is None else answer[0]

    def _of(self, window: Window) -> _Counter:
        counter = self._counters.get(window.key)
        if counter is None:
            counter = self._counters[window.key] = _Counter(window)
        return counter


def _kept_s(window: Window, now: float) -> int:
    return max(1, window.end - int(now)) + _KEPT_S
