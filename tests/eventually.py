"""Waits until a condition is true. Tests use this instead of waiting for a fixed time."""

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
    """Call `check`, a plain or an async function, until it returns a true value, and return that
    value.

    Raises AssertionError, which contains the last returned value, if that takes too long.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = check()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                f"the check did not succeed within {timeout_s} s; its last answer was {value!r}"
            )
        await asyncio.sleep(POLL_S)
