"""Time limits of SQL statements, and a time-out that only counts while the event loop can run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: Time limit of a statement in seconds, including the wait for a connection. If a statement takes
#: longer, Postgres counts as unavailable.
STATEMENT_TIMEOUT_S = 5.0
#: Time limit in seconds of a statement that a task body runs.
TASK_STATEMENT_TIMEOUT_S = 60.0
#: Number of seconds by which Postgres cancels a statement earlier than the client stops waiting for
#: it. A working server therefore reports that it was slow, and no abandoned statement continues to
#: run.
SERVER_MARGIN_S = 0.5
#: Interval in seconds at which a time-out counts down; see `timeout`.
TICK_S = 0.5


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after this much time in which the event loop was able to run.

    A statement needs several turns of the event loop. A task body that blocks the interpreter for a
    second at a time rarely lets the loop run. This does not mean that Postgres is unavailable.
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
