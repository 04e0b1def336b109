"""The usual load during incidents: short tasks, mails, a schedule and API requests. It continues
while servers are unavailable.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import httpx

from shared.errors import ServerUnavailable
from shared.hotel.contracts.email import SEND_WELCOME, SendWelcome
from shared.schedules import statements as schedules
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds

EVERY_S = 0.5
MAIL_EVERY_S = 2.0
VISIT_EVERY_S = 1.0
CHECK = {"name": "system.health_check", "params": {}}


@contextlib.asynccontextmanager
async def repeated(act: Callable[[], Awaitable[object]], *, every_s: float) -> AsyncIterator[None]:
    """Call `act` repeatedly inside this context. Errors of unavailable servers are ignored, and the
    next call tries again.
    """

    async def repeat() -> None:
        while True:
            with contextlib.suppress(ServerUnavailable, OSError, httpx.TransportError):
                await act()
            await asyncio.sleep(every_s)

    repeating = asyncio.create_task(repeat())
    try:
        yield
    finally:
        repeating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await repeating


@contextlib.asynccontextmanager
async def usual(platform: Platform, visitor: httpx.AsyncClient) -> AsyncIterator[None]:
    """Apply a small load inside this context: a few short tasks, API requests and mails per second.
    Alerts need it to know usual error rates and durations.
    """
    guest = await _guest(platform)
    await add_schedule(platform, "sample.regular", every="60 s")

    async def submit() -> None:
        await platform.submit(INSTANT, Nothing(), count=2)
        await platform.submit(WAIT, Seconds(seconds=0.05))

    async def visit() -> None:
        await visitor.post("tasks", json=CHECK)
        await visitor.get("tasks", params={"limit": 5})

    async with (
        repeated(submit, every_s=EVERY_S),
        repeated(visit, every_s=VISIT_EVERY_S),
        repeated(lambda: platform.submit(SEND_WELCOME, SendWelcome(user_id=guest)), every_s=MAIL_EVERY_S),
    ):
        yield


async def add_schedule(platform: Platform, name: str, *, every: str) -> None:
    """Add a schedule that submits a health check from now on, unless the previous one has not
    ended.
    """
    columns = {
        "name": name,
        "task_name": CHECK["name"],
        "params": "{}",
        "kind": "interval",
        "expression": every,
        "overlap": "skip",
        "next_fire_time": datetime.now(UTC),
    }
    await schedules.insert(platform.database, columns)


async def _guest(platform: Platform) -> int:
    """Create an account that receives mails. Returns its id."""
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash, verified_at)"
        " VALUES ('guest@often-hotels.example', '-', now()) RETURNING id"
    )
    return int(row["id"])
