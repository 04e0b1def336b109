"""Wait for something to become true: the only way in which these tests wait."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_S = 0.02


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], timeout_s: float = 30) -> T: ...
@overload
async def eventually(check: Callable[[], T | None], timeout_s: float = 30) -> T: ...
async def eventually(check: Callable[[], Any], timeout_s: float = 30) -> Any:
    """Poll until `check`, sync or async, answers something truthy, and return that.

    Raises AssertionError with the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = check()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; the last answer was {value!r}")
        await asyncio.sleep(POLL_S)
