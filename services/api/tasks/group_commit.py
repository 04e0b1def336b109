"""Stores what concurrent requests bring in one statement and one commit.

A lone request is stored immediately. Requests that arrive while a write is in progress share the next one.
A request that is given up while it waits is not stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import ServerUnavailable

T = TypeVar("T")
R = TypeVar("R")

#: Upper bound for the tasks of one statement, and so for what waits for one commit.
MOST = 500


class GroupCommit(Generic[T, R]):
    """Groups submissions of one sort."""

    def __init__(self, store: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]) -> None:
        """`store` answers each submission of a group, in their order."""
        self._store_together = store
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._storing: asyncio.Task[None] | None = None

    async def submit(self, wanted: T) -> R:
        """The answer to a submission once it is committed. Raises what `store` raises for it alone."""
        stored: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        return await stored

    async def _store_all(self) -> None:
        try:
            while group := self._next_group():
                await self._store(group)
        finally:
            self._storing = None

    def _next_group(self) -> list[tuple[T, asyncio.Future[R]]]:
        """Without the requests that were given up meanwhile, which canceled their futures."""
        wanted = [each for each in self._waiting if not each[1].cancelled()]
        group, self._waiting = wanted[:MOST], wanted[MOST:]
        return group

    async def _store(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        """Store a group; if Postgres refuses it because of one task, store each task alone."""
        try:
            answers = await self._store_together([wanted for wanted, _ in group])
        except ServerUnavailable as error:
            _refuse(group, error)
        except Exception as error:  # noqa: BLE001 - the requests wait for it, whatever it is
            if len(group) == 1:
                _refuse(group, error)
            else:
                for alone in group:
                    if not alone[1].cancelled():
                        await self._store([alone])
        else:
            for answer, (_, stored) in zip(answers, group, strict=True):
                if not stored.done():  # its request may have been given up
                    _set(stored, answer)


def _set(stored: "asyncio.Future[R]", answer: R | Exception) -> None:
    if isinstance(answer, Exception):
        stored.set_exception(answer)
    else:
        stored.set_result(answer)


def _refuse(group: "list[tuple[T, asyncio.Future[R]]]", error: Exception) -> None:
    for _, stored in group:
        if not stored.done():
            stored.set_exception(error)
