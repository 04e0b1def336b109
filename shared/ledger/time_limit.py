"""How long statements may take, by whose clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: How long one statement may take, waiting for a connection included, before Postgres counts as away.
STATEMENT_TIMEOUT_S = 5.0
#: The same in the bodies of tasks.
TASK_STATEMENT_TIMEOUT_S = 60.0
#: Postgres itself cancels a statement this much earlier. A server that answers therefore says that it was
#: slow, and no statement that its client gave up keeps running.
SERVER_MARGIN_S = 0.5
#: Step in which a time-out counts down; see `timeout`.
TICK_S = 0.5


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after this much of the loop's own time.

    A body that keeps the interpreter for a second at a time lets this loop run in rare moments only, and a
    statement needs several of them. That does not mean that Postgres is away.
    """
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout(None)
    handle: asyncio.TimerHandle

    def tick(left: float) -> None:
        nonlocal handle
        if left > 0:
            handle = loop.call_later(TICK_S, tick, left - TICK_S)
        else:
            scope.reschedule(loop.time())

    tick(seconds)
    try:
        async with scope:
            yield
    finally:
        handle.cancel()
