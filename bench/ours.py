"""This project as it is measured: one scheduler, two workers, every setting at its default."""

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
#: The system chooses them.
ANY_PORTS = (0,) * WORKERS
#: Tasks in one statement of the submitter.
BATCH = 5_000
#: How often the ledger is asked whether all is done.
ASK_EVERY_S = 0.005

UNFINISHED = Statement("""
    SELECT EXISTS (SELECT FROM task WHERE send_at IS NOT NULL AND name = :name)
        OR EXISTS (SELECT FROM task WHERE sent_at IS NOT NULL AND name = :name)
        OR EXISTS (SELECT FROM task WHERE holder IS NOT NULL AND name = :name) AS any
""")

SUCCEEDED = Statement("SELECT count(*) FROM task WHERE name = :name AND status = 'success'")


@asynccontextmanager
async def running(stage: Stage, *, port: int = 0) -> AsyncIterator[Platform]:
    """A platform with a scheduler that leads, its metrics at `port`; workers are started by the caller."""
    await stage.settle()
    async with stage.platform() as platform:
        await start_scheduler(platform, OFTEN_METRICS_PORT=str(port))
        yield platform


async def start_scheduler(platform: Platform, **environment: str) -> None:
    """One that leads and is done with this Redis, a new one: else it sends what we queue a second time."""
    await platform.start_scheduler(OFTEN_LOG_FORMAT="json", **environment)

    async def no_marks_to_come() -> bool:
        (known,) = await platform.rows("SELECT run_id FROM generation")
        return bool(known["run_id"] != SETTLING)

    await eventually(no_marks_to_come)


def start_workers(
    platform: Platform, ports: Sequence[int] = ANY_PORTS, /, **environment: str
) -> list[subprocess.Popen[bytes]]:
    """`ports` are those of their metrics."""
    return [
        platform.start("bench.worker", OFTEN_LOG_FORMAT="json", OFTEN_METRICS_PORT=str(port), **environment)
        for port in ports
    ]


async def workers_ready(platform: Platform, **environment: str) -> list[subprocess.Popen[bytes]]:
    """Workers that are registered."""
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
    """Whether a task of this kind is not final."""
    (row,) = await platform.rows(UNFINISHED, name=contract.name)
    return bool(row["any"])


async def finished(platform: Platform, contract: Contract[Any, Any], timeout_s: float = 60) -> None:
    """Wait until every task of this kind is final."""
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
    """Tasks per second with all queued first, from the first start to the last row final.

    The ledger is asked only when this share of the bodies has ended, and then often: looking for what is not
    final among what was claimed costs the workers the more the more there was.
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
