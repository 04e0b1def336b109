"""Runs this project for measurements: one scheduler, two workers, and default settings."""

import asyncio
import functools
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench import tally
from bench.stage import Stage
from services.scheduler.resender import SETTLING
from shared.contracts.contract import Contract, Params
from shared.ledger.statement import Statement
from tests.eventually import eventually
from tests.platform import Platform

WORKERS = 2
#: Ports for the workers' metrics. Port 0 lets the operating system choose a free one.
ANY_PORTS = (0,) * WORKERS
#: Number of tasks that one SQL statement inserts.
BATCH = 5_000
#: Seconds between two queries that check whether all tasks have ended.
ASK_EVERY_S = 0.005

UNFINISHED = Statement("""
    SELECT EXISTS (SELECT FROM task WHERE send_at IS NOT NULL AND name = :name)
        OR EXISTS (SELECT FROM task WHERE sent_at IS NOT NULL AND name = :name)
        OR EXISTS (SELECT FROM task WHERE holder IS NOT NULL AND name = :name) AS any
""")

SUCCEEDED = Statement("SELECT count(*) FROM task WHERE name = :name AND status = 'success'")


@asynccontextmanager
async def running(stage: Stage, *, port: int = 0) -> AsyncIterator[Platform]:
    """Run a platform whose scheduler leads and serves its metrics on `port`. The caller starts the
    workers.
    """
    await stage.settle()
    async with stage.platform() as platform:
        await start_scheduler(platform, OFTEN_METRICS_PORT=str(port))
        yield platform


async def start_scheduler(platform: Platform, **environment: str) -> None:
    """Start a scheduler, and wait until it leads and has compared the new Redis with the database.

    If tasks were queued before that comparison, the scheduler would send them a second time.
    """
    await platform.start_scheduler(OFTEN_LOG_FORMAT="json", **environment)

    async def no_marks_to_come() -> bool:
        (known,) = await platform.rows("SELECT run_id FROM generation")
        return bool(known["run_id"] != SETTLING)

    await eventually(no_marks_to_come)


def start_workers(
    platform: Platform, ports: Sequence[int] = ANY_PORTS, /, **environment: str
) -> list[subprocess.Popen[bytes]]:
    """Start workers, one for each of `ports`, on which it serves its metrics."""
    return [
        platform.start("bench.worker", OFTEN_LOG_FORMAT="json", OFTEN_METRICS_PORT=str(port), **environment)
        for port in ports
    ]


async def workers_ready(platform: Platform, **environment: str) -> list[subprocess.Popen[bytes]]:
    """Start workers, and wait until they are registered."""
    processes = start_workers(platform, **environment)
    for process in processes:
        await eventually(functools.partial(platform.worker_of, process))
    return processes


async def submit(
    platform: Platform, contract: Contract[Any, Any], params: Params, count: int, **options: Any
) -> None:
    for start in range(0, count, BATCH):
        await platform.submit(contract, params, count=min(BATCH, count - start), **options)


async def any_left(platform: Platform, contract: Contract[Any, Any]) -> bool:
    """Whether any task of this contract has not ended."""
    (row,) = await platform.rows(UNFINISHED, name=contract.name)
    return bool(row["any"])


async def finished(platform: Platform, contract: Contract[Any, Any], timeout_s: float = 60) -> None:
    """Wait until every task of this contract has ended."""
    async with asyncio.timeout(timeout_s):
        while True:
            if not await any_left(platform, contract):
                return
            await asyncio.sleep(ASK_EVERY_S)


async def drain(
    platform: Platform,
    contract: Contract[Any, Any],
    params: Params,
    count: int,
    *,
    ports: Sequence[int] = ANY_PORTS,
    ask_after: float = 0.99,
) -> float:
    """Queue all tasks, then run them. Returns the tasks per second, from the first start to the
    time at which the last end is recorded.

    The database is queried only after the share `ask_after` of the bodies has ended, and then
    often: finding tasks that have not ended among many claimed ones would slow down the workers.
    """
    await submit(platform, contract, params, count)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workers = start_workers(platform, ports, **{tally.VARIABLE: folder})

        def check() -> None:
            for worker in workers:
                assert worker.poll() is None, platform.log_of(worker)

        await tally.reaches(Path(folder), int(count * ask_after), check)
        await finished(platform, contract)
        seconds = time.time() - tally.read(Path(folder)).first
    (row,) = await platform.rows(SUCCEEDED, name=contract.name)
    assert row["count"] == count, f"{row['count']} of {count} tasks succeeded"
    return count / seconds
