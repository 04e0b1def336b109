"""Remembers what the database answered, for a moment: each request asks, and few of them have to wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: An answer serves requests that arrive within this time after its question was sent. A change therefore acts
#: within a second on every process, whatever else fails.
MAX_AGE_S: Final = 0.9
#: Upper bound for the answers that one process remembers, about a kilobyte each.
MAX_KEPT: Final = 5_000


@dataclass(slots=True, eq=False)
class _Question(Generic[V]):
    asked_at: float
    answer: "asyncio.Task[V]"


class Remembered(Generic[K, V]):
    """Answers by key. A question that raises is asked again by the next request."""

    def __init__(self, ask: Callable[[K], Awaitable[V]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        #: In the order in which they were asked.
        self._kept: dict[K, tuple[float, V]] = {}
        self._under_way: dict[K, _Question[V]] = {}

    async def get(self, key: K) -> V:
        """The answer, which requests share that arrive while it is on its way. Raises what asking raises."""
        now = self._clock()
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < MAX_AGE_S:
            return kept[1]
        question = self._under_way.get(key)
        if question is None or now - question.asked_at >= MAX_AGE_S:
            question = self._begin(key, now)
        # A request that is given up does not take the answer from the others.
        return await asyncio.shield(question.answer)

    def forget(self) -> None:
        """Ask again from now on. Answers on their way may be outdated and are not kept."""
        self._kept.clear()
        self._under_way.clear()

    def _begin(self, key: K, now: float) -> _Question[V]:
        question = _Question(now, asyncio.create_task(self._answer(key)))
        self._under_way[key] = question
        question.answer.add_done_callback(lambda done: self._settle(key, question, done))
        return question

    async def _answer(self, key: K) -> V:
        return await self._ask(key)

    def _settle(self, key: K, question: _Question[V], done: "asyncio.Task[V]") -> None:
        failed = done.cancelled() or done.exception() is not None
        if self._under_way.get(key) is not question:
            return
        del self._under_way[key]
        if not failed:
            self._keep(key, question.asked_at, done.result())

    def _keep(self, key: K, asked_at: float, value: V) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = asked_at, value
