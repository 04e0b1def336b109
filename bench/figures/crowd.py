"""Processor time per no-op task with many workers on few cores, beside that with two."""

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

#: Six workers for each core of the machine where the figures of docs/performance.md are taken.
CROWD, FEW = 12, ours.WORKERS
#: Tasks in a run, of which the last three quarters are measured.
COUNT = 40_000
#: Time limit for all of them to start, on a machine that they have to themselves.
START_LIMIT_S = 120
#: A round takes a minute.
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
        log.info("%d workers: %s, %d: %s", CROWD, costs[CROWD], FEW, costs[FEW])
    return [measured]


async def cost(stage: Stage, workers: int) -> Cost:
    """Marginal cost of the last three quarters of the tasks, after each worker has run one.

    The workers are stopped while the tasks are queued, so that none has worked them off before the last has
    started.
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
    """Read the meter once a quarter and once all of the tasks are recorded."""
    # Our own backend is not counted, so it must not start parallel workers.
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
