"""A platform at work: one scheduler, two workers, no-op tasks that never run out; and how fast that goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

from bench import ours
from bench.stage import Stage
from shared.contracts.contract import Contract
from shared.contracts.system import HEALTH_CHECK
from shared.ledger.statement import Statement
from shared.transport.queues import Address
from tests.eventually import eventually
from tests.platform import Platform

WORKERS = 2
#: Tasks per statement and push.
BATCH = 5_000
#: Pause between two looks at the lane; at 5,000 tasks/s it is refilled by some 250 then.
FEED_EVERY_S = 0.05

#: Rows as they are once they were pushed and marked, each at a moment of its own.
_SENT = Statement("""
    INSERT INTO task (name, type, queue, priority, params, sent_at)
    SELECT :name, :type, :queue, :priority, '{}', clock_timestamp() FROM generate_series(1, :count)
    RETURNING id
""")

#: $1, $2: begin and end; $3: name.
_ENDED = "SELECT count(*) FROM task WHERE completed_at >= $1 AND completed_at < $2 AND name = $3"


def platform(stage: Stage, *, redis: int) -> Platform:
    """One with a logical Redis of its own, so that two lie side by side and are entered in turn.

    Make both before either is filled: a stage empties all of Redis for a new one.
    """
    made = stage.platform()
    return Platform(made.database_url, f"{stage.redis_url.rpartition('/')[0]}/{redis}", made._logs)


async def queue(platform: Platform, count: int) -> None:
    """Store no-op tasks and push their ids."""
    task = HEALTH_CHECK
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        rows = await platform.rows(
            _SENT, name=task.name, type=task.type, queue=task.queue, priority=task.priority, count=size
        )
        ids = [UUID(int=row["id"].int) for row in rows]
        await platform.queues.push(Address(i, task.queue, task.priority) for i in ids)


async def depth(platform: Platform) -> int:
    """Ids that wait."""
    rescued, lanes = await platform.queues.depths(HEALTH_CHECK.queue)
    return rescued + sum(lanes.values())


@contextlib.asynccontextmanager
async def working(platform: Platform) -> AsyncIterator[None]:
    """Scheduler and workers, until they have given back what they hold."""
    await ours.start_scheduler(platform)
    workers = [platform.start("services.worker") for _ in range(WORKERS)]
    for worker in workers:
        await eventually(lambda worker=worker: platform.worker_of(worker))  # type: ignore[misc]
    try:
        yield
    finally:
        await stop(platform)


async def stop(platform: Platform) -> None:
    """Let all its processes end in good order."""
    running = [process for process in platform.processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        await asyncio.to_thread(process.wait, 30)


@contextlib.asynccontextmanager
async def fed(platform: Platform, level: int) -> AsyncIterator["Feed"]:
    """Keep the lane filled up to `level`."""
    feed = Feed(platform, level)
    feeding = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        feed.stopping = True  # redis-py may lose a cancellation under Python 3.11
        await feeding


class Feed:
    """What the workers take from the lane comes back to it."""

    def __init__(self, platform: Platform, level: int) -> None:
        self._platform, self._level = platform, level
        self.stopping = False
        #: Tasks that were taken and replaced.
        self.taken = 0

    async def run(self) -> None:
        while not self.stopping:
            missing = self._level - await depth(self._platform)
            if missing > 0:
                await queue(self._platform, missing)
                self.taken += missing
            await asyncio.sleep(FEED_EVERY_S)


async def now(platform: Platform) -> datetime:
    """The database's time, by which the workers record."""
    (row,) = await platform.rows("SELECT clock_timestamp() AS now")
    moment: datetime = row["now"]
    return moment


async def rate(
    platform: Platform, begin: datetime, end: datetime, contract: Contract[Any, Any] = HEALTH_CHECK
) -> float:
    """Tasks of a kind that ended per second between two moments."""
    connection = await platform.database.connect()  # has all the time that counting takes
    try:
        ended: int = await connection.fetchval(_ENDED, begin, end, contract.name)
    finally:
        await connection.close()
    return ended / (end - begin).total_seconds()
