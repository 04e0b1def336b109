"""Measures the processor time per no-op task when many workers share few cores, compared with two
workers.
"""

import logging
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import asyncpg
import psutil

from bench import ours, tally
from bench.figure import Benchmark, Figure, Measured, Round
from bench.processor import Cost, Meter
from bench.stage import Stage
from bench.tasks import NOOP, Nothing
from tests.eventually import eventually
from tests.platform import Platform

log = logging.getLogger(__name__)

#: Numbers of workers that are compared. The machine whose figures are in docs/performance.md has
#: two cores, so twelve workers are six per core.
CROWD, FEW = 12, ours.WORKERS
#: Number of tasks in a run. The last three quarters of them are measured.
COUNT = 40_000
#: Seconds within which all workers have to start.
START_LIMIT_S = 120
#: Number of rounds, kept low because a round takes a minute.
ROUNDS = 3

FIGURE = Figure(
    "cost in a crowd",
    "processor time of all processes, Postgres and Redis included, per recorded no-op task, over the last "
    f"three quarters of {COUNT:,} queued tasks: {CROWD} workers ÷ {FEW}",
    required=1.3,
    lower_is_better=True,
)

_RECORDED = "SELECT count(*) FROM task WHERE name = $1 AND status = 'success'"


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "µs")
    for number in range(rounds):
        sizes = (CROWD, FEW) if number % 2 == 0 else (FEW, CROWD)
        costs = {size: await cost(stage, size) for size in sizes}
        measured.rounds.append(Round(costs[CROWD].total, costs[FEW].total))
        log.info("cost with %d workers: %s, with %d: %s", CROWD, costs[CROWD], FEW, costs[FEW])
    return [measured]


async def cost(stage: Stage, workers: int) -> Cost:
    """Marginal cost per task of the last three quarters of the tasks, after each worker has run one
    task.

    The workers are frozen (SIGSTOP) while the tasks are queued, so that the first workers do not
    finish all tasks before the last one has started.
    """
    count = stage.count(COUNT)
    async with ours.running(stage) as platform:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            crowd = ours.start_workers(platform, (0,) * workers, **{tally.VARIABLE: folder})
            for process in crowd:
                await eventually(partial(platform.worker_of, process), START_LIMIT_S)
            _signal(crowd, signal.SIGSTOP)
            await ours.submit(platform, NOOP, Nothing(), count)
            _signal(crowd, signal.SIGCONT)
            return await _drain(stage, platform, folder, workers, count)


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


async def _drain(stage: Stage, platform: Platform, folder: str, workers: int, count: int) -> Cost:
    """Read the processor time when a quarter of the tasks is recorded and when all of them are, and
    return the cost per task in between.
    """
    # The measured processor time excludes the server process of this connection. So its queries
    # must not start parallel workers, whose time would be included.
    ledger = await asyncpg.connect(
        platform.database_url, server_settings={"max_parallel_workers_per_gather": "0"}
    )

    def check() -> None:
        for process in platform.processes:
            assert process.poll() is None, platform.log_of(process)

    async def all_recorded() -> bool:
        return bool(await ledger.fetchval(_RECORDED, NOOP.name) == count)

    processes = [psutil.Process(process.pid) for process in platform.processes]
    parts = {"its processes": processes, "Postgres": [stage.postgres], "Redis": [stage.valkey]}
    meter = Meter(parts, without=[ledger.get_server_pid()])
    try:
        await tally.reaches(Path(folder), count // 4, check, processes=workers)
        begin = meter.read(await ledger.fetchval(_RECORDED, NOOP.name))
        await tally.reaches(Path(folder), count, check)
        await eventually(all_recorded)
        return meter.read(count).since(begin)
    finally:
        await ledger.close()


BENCHMARK = Benchmark("crowd", measure, rounds=ROUNDS)
