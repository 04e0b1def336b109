"""Takes what concurrent requests want to a server together: in one statement and one commit, or one script.

A lone request goes at once. Requests that arrive while a group is under way share the next one, and one that
is given up while it waits does not go.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import ServerUnavailable

T = TypeVar("T")
R = TypeVar("R")

#: Upper bound for one group, and so for what waits for one commit.
MOST = 500


class Grouping(Generic[T, R]):
    """The groups of one sort."""

    def __init__(self, go: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]) -> None:
        """`go` answers each member of a group, in their order."""
        self._go = go
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._under_way: asyncio.Task[None] | None = None

    async def join(self, wanted: T) -> R:
        """The answer to one member. Raises what it raises alone."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, answer))
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._go_on())
        return await answer

    async def _go_on(self) -> None:
        try:
            while group := self._next_group():
                await self._take(group)
        finally:
            self._under_way = None

    def _next_group(self) -> list[tuple[T, asyncio.Future[R]]]:
        """Without the requests that were given up meanwhile, which canceled their futures."""
        wanted = [each for each in self._waiting if not each[1].cancelled()]
        group, self._waiting = wanted[:MOST], wanted[MOST:]
        return group

    async def _take(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        """Take a group along; if it is refused because of one member, take each of them alone."""
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
                if not answer.done():  # its request may have been given up
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
