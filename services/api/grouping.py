"""Combines the queries of concurrent requests into one statement and commit, or into one Redis
script.

A lone query is sent immediately. Queries that arrive while a group is in progress form the next
group. A query is left out if its request is abandoned while it waits.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import ServerUnavailable

T = TypeVar("T")
R = TypeVar("R")

#: Maximum number of queries in a group, which bounds the work that waits for one commit.
MOST = 500


class Grouping(Generic[T, R]):
    """Combines concurrent queries of one kind into groups."""

    def __init__(self, go: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]) -> None:
        """The function `go` receives the queries of a group and returns one answer for each, in
        order.
        """
        self._go = go
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._under_way: asyncio.Task[None] | None = None

    async def join(self, wanted: T) -> R:
        """Add a query to the next group and return its answer. Raises the error that the query
        would raise if it were sent alone.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, answer))
        if self._under_way is None:
            # A group serves several requests, so it runs outside the context variables of the
            # request that starts it.
            self._under_way = asyncio.create_task(self._go_on(), context=contextvars.Context())
        return await answer

    async def _go_on(self) -> None:
        try:
            while group := self._next_group():
                await self._take(group)
        finally:
            self._under_way = None

    def _next_group(self) -> list[tuple[T, asyncio.Future[R]]]:
        """Return the next group, without the queries of abandoned requests, whose futures are
        canceled.
        """
        wanted = [each for each in self._waiting if not each[1].cancelled()]
        group, self._waiting = wanted[:MOST], wanted[MOST:]
        return group

    async def _take(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        """Send a group. If it fails because of one query, send each of its queries separately."""
        try:
            answers = await self._go([wanted for wanted, _ in group])
        except ServerUnavailable as error:
            _refuse(group, error)
        except Exception as error:  # noqa: BLE001 - the requests wait for it, whatever it is
            if len(group) == 1:
                _refuse(group, error)
            else:
                for alone in group:
                    if not alone[1].cancelled():
                        await self._take([alone])
        else:
            for found, (_, answer) in zip(answers, group, strict=True):
                if not answer.done():  # The waiting request may have been abandoned
                    _set(answer, found)


def _set(answer: "asyncio.Future[R]", found: R | Exception) -> None:
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def _refuse(group: "list[tuple[T, asyncio.Future[R]]]", error: Exception) -> None:
    for _, answer in group:
        if not answer.done():
            answer.set_exception(error)
