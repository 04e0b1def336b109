"""Counts what accounts take in windows of time: in memory at once, in Redis with all other processes.

A count of one, far from its limit, is noted here and reaches Redis within a second. Anything else is asked
for in Redis, in one step. Without Redis nothing is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import redis.asyncio as redis

from services.api.identity.counting import CountingRedis

#: No amount: nothing is refused when counters are only brought up to date.
_NO_LIMIT = 2**53
MINUTE_S = 60
#: Counters of one call: a script returns fewer than 8,000 values, and other clients wait for it.
CHUNK = 500
#: Redis keeps a counter for this long after its window, because clocks differ.
_KEPT_S = 60


class Window(NamedTuple):
    """A counter of one account and one quota, which is valid until `end`, a time of the epoch in seconds."""

    key: str
    end: int


class Want(NamedTuple):
    """What a submission asks of one counter."""

    quota: str
    window: Window
    amount: int
    limit: int


@dataclass(slots=True)
class _Counter:
    window: Window
    #: As Redis last said.
    known: int = 0
    #: Taken by this process and not in `known`: not sent yet, and on the way.
    unsent: int = 0
    sent: int = 0
    #: Questions to Redis that are under way.
    asked: int = 0

    @property
    def total(self) -> int:
        return max(0, self.known + self.unsent + self.sent)

    def is_needed(self, now: float) -> bool:
        """False when Redis knows all about it; only single tasks of a minute are taken without asking."""
        lasts = self.window.end >= now
        return lasts and bool(self.unsent or self.asked or self.window.end <= now + MINUTE_S)

    def begin(self) -> int:
        """Note that the unsent amount is on its way to Redis, and return it."""
        amount, self.unsent = self.unsent, 0
        self.sent += amount
        self.asked += 1
        return amount

    def settle(self, amount: int, known: int | None) -> None:
        """Note what Redis answered to this amount; None: it did not, and the amount is sent again."""
        self.sent -= amount
        self.asked -= 1
        if known is None:
            self.unsent += amount
        else:
            self.known = known


def minute(quota: str, account: int, now: float) -> Window:
    """The current minute of the clock."""
    return _window(quota, account, now, MINUTE_S)


def day(quota: str, account: int, now: float) -> Window:
    """The current day in UTC."""
    return _window(quota, account, now, 86_400)


def _window(quota: str, account: int, now: float, length_s: int) -> Window:
    end = (int(now) // length_s + 1) * length_s
    return Window(f"often:quota:{quota}:{account}:{end}", end)


class Counters:
    """The counters of one process. Building it connects to nothing."""

    def __init__(self, counting: CountingRedis) -> None:
        self._counting = counting
        client = redis.Redis(connection_pool=counting.pool)
        self._script = client.register_script(files(__package__).joinpath("take.lua").read_text())
        self._counters: dict[str, _Counter] = {}

    def total(self, window: Window) -> int:
        """What was taken, as far as this process knows."""
        return self._of(window).total

    def note(self, window: Window, amount: int) -> None:
        """Take without asking, or give back a negative amount."""
        self._of(window).unsent += amount

    async def take(self, wants: Sequence[Want], now: float) -> Want | None:
        """Take all or none. Returns the first one that has too little left; None when all were taken."""
        short = await self._ask(wants, now)
        if short is None:  # Redis is away
            for want in wants:
                self.note(want.window, want.amount)
        return wants[short - 1] if short else None

    async def read(self, windows: Sequence[Window], now: float) -> None:
        """Bring these counters up to date with the other processes; leaves them as they are without Redis."""
        if windows:
            await self._ask([Want("", window, 0, _NO_LIMIT) for window in windows], now)

    async def send(self, now: float) -> None:
        """Send to Redis what was noted, and forget what is not needed. To be repeated each second."""
        for key in [key for key, counter in self._counters.items() if not counter.is_needed(now)]:
            del self._counters[key]
        noted = [each.window for each in self._counters.values() if each.unsent]
        for start in range(0, len(noted), CHUNK):
            await self.read(noted[start : start + CHUNK], now)

    async def _ask(self, wants: Sequence[Want], now: float) -> int | None:
        """The script's verdict: 0, or the number of the counter with too little left; None without Redis."""
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
