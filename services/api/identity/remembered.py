"""Caches answers of the database for a moment. Each request needs such an answer, and few requests
should wait for one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Seconds for which an answer is used, counted from the moment its query was sent. A change
#: therefore takes effect in every process within a second, even if all messages about it are lost.
MAX_AGE_S: Final = 0.9
#: Maximum number of answers that one process caches, at about a kilobyte each.
MAX_KEPT: Final = 5_000


@dataclass(slots=True, eq=False)
class _Question(Generic[V]):
    asked_at: float
    answer: "asyncio.Task[V]"


class Remembered(Generic[K, V]):
    """Caches the answers to queries by key. If a query fails, the next request sends it again."""

    def __init__(self, ask: Callable[[K], Awaitable[V]], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        #: Cached answers, in the order in which their queries were sent.
        self._kept: dict[K, tuple[float, V]] = {}
        self._under_way: dict[K, _Question[V]] = {}

    async def get(self, key: K) -> V:
        """Return the answer for a key. Requests that arrive during the query share its answer, or
        the error that it raises.
        """
        now = self._clock()
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < MAX_AGE_S:
            return kept[1]
        question = self._under_way.get(key)
        if question is None or now - question.asked_at >= MAX_AGE_S:
            question = self._begin(key, now)
        # If one of the waiting requests is abandoned, the query goes on for the others.
        return await asyncio.shield(question.answer)

    def forget(self) -> None:
        """Drop all answers, so that later requests query again. Answers that are still on their way
        may be outdated, so they are not cached.
        """
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
