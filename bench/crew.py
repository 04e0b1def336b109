"""Runs a platform (one scheduler, two workers) under a constant backlog of no-op tasks, and
measures its task rate.
"""

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
#: Number of tasks that one SQL statement inserts and one Redis command pushes.
BATCH = 5_000
#: Seconds between two checks of how many ids are left in the Redis list. At 5,000 tasks/s, each
#: check adds about 250 tasks.
FEED_EVERY_S = 0.05

#: SQL: inserts tasks in the state that they have after their ids were pushed to a Redis list.
_SENT = Statement("""
    INSERT INTO task (name, type, queue, priority, params, sent_at)
    SELECT :name, :type, :queue, :priority, '{}', clock_timestamp() FROM generate_series(1, :count)
    RETURNING id
""")

#: SQL: the number of succeeded tasks whose id is at least `first`, of one name or of all names, and
#: the seconds from their first claim to their last end.
_BURST = Statement("""
    SELECT count(*) AS count, extract(epoch FROM max(completed_at) - min(claimed_at))::float8 AS seconds
    FROM task WHERE id >= :first AND status = 'success' AND name = coalesce(:name, name)
""")
#: SQL: the number of tasks that ended in a period. $1 and $2 are its start and end; $3 is the task
#: name.
_ENDED = "SELECT count(*) FROM task WHERE completed_at >= $1 AND completed_at < $2 AND name = $3"


def platform(stage: Stage, *, redis: int) -> Platform:
    """Build a platform with a logical Redis database of its own, so that two platforms can be
    measured alternately.

    Build both platforms before filling either, because building one empties all of Redis.
    """
    made = stage.platform()
    return Platform(made.database_url, f"{stage.redis_url.rpartition('/')[0]}/{redis}", made._logs)


async def queue(platform: Platform, count: int) -> None:
    """Store no-op tasks and push their ids to the Redis list from which workers fetch."""
    task = HEALTH_CHECK
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        rows = await platform.rows(
            _SENT, name=task.name, type=task.type, queue=task.queue, priority=task.priority, count=size
        )
        ids = [UUID(int=row["id"].int) for row in rows]
        await platform.queues.push(Address(i, task.queue, task.priority) for i in ids)


async def depth(platform: Platform) -> int:
    """Number of ids of no-op tasks that wait in Redis."""
    rescued, lanes = await platform.queues.depths(HEALTH_CHECK.queue)
    return rescued + sum(lanes.values())


@contextlib.asynccontextmanager
async def working(platform: Platform) -> AsyncIterator[None]:
    """Run a scheduler and workers inside this context. On exit, wait until the workers have given
    back the tasks that they had claimed but not run.
    """
    await ours.start_scheduler(platform)
    workers = [platform.start("services.worker") for _ in range(WORKERS)]
    for worker in workers:
        await eventually(lambda worker=worker: platform.worker_of(worker))  # type: ignore[misc]
    try:
        yield
    finally:
        await stop(platform)


async def stop(platform: Platform) -> None:
    """Stop the scheduler and all workers of the platform cleanly."""
    running = [process for process in platform.processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        await asyncio.to_thread(process.wait, 30)


@contextlib.asynccontextmanager
async def fed(platform: Platform, level: int) -> AsyncIterator["Feed"]:
    """Keep the number of waiting tasks at `level` until the context ends."""
    feed = Feed(platform, level)
    feeding = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        feed.stopping = True  # a flag, because redis-py may swallow a cancellation under Python 3.11
        await feeding


class Feed:
    """Adds a new no-op task for each task that the workers take, so that the backlog keeps its
    size.
    """

    def __init__(self, platform: Platform, level: int) -> None:
        self._platform, self._level = platform, level
        self.stopping = False
        #: Number of tasks that workers have taken and that this feed has replaced.
        self.taken = 0

    async def run(self) -> None:
        while not self.stopping:
            missing = self._level - await depth(self._platform)
            if missing > 0:
                await queue(self._platform, missing)
                self.taken += missing
            await asyncio.sleep(FEED_EVERY_S)


async def now(platform: Platform) -> datetime:
    """The database's present time. Workers use the same clock for the times that they record."""
    (row,) = await platform.rows("SELECT clock_timestamp() AS now")
    moment: datetime = row["now"]
    return moment


async def burst(platform: Platform, first: UUID, name: str | None = None) -> tuple[int, float]:
    """Count the tasks created since `first` that have succeeded, and measure how long they took
    together.

    Returns that number, and the seconds from the first claim to the last end.
    """
    (row,) = await platform.rows(_BURST, first=first, name=name)
    return row["count"], row["seconds"]


async def rate(
    platform: Platform, begin: datetime, end: datetime, contract: Contract[Any, Any] = HEALTH_CHECK
) -> float:
    """Number of tasks of one contract that ended per second between two times."""
    # Unlike pooled connections, this connection has no statement time limit.
    connection = await platform.database.connect()
    try:
        ended: int = await connection.fetchval(_ENDED, begin, end, contract.name)
    finally:
        await connection.close()
    return ended / (end - begin).total_seconds()
