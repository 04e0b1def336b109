"""Measures the rate of tasks that take 10 ms, compared with threads that only run the same body in
a loop.
"""

import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import bare_loop, ours, tally
from bench.figure import Benchmark, Figure, Measured, Round
from bench.peers import crowd
from bench.peers.peer import drain
from bench.programs import Programs
from bench.stage import Stage
from bench.tasks import SHORT, SHORT_S, Nothing

log = logging.getLogger(__name__)

COUNT = 16_000

FIGURE = Figure(
    "10 ms tasks",
    f"rate of {COUNT:,} tasks whose body sleeps 10 ms, two workers of 8 threads ÷ two processes of 8 threads "
    "that loop the same body",
    required=0.95,
    target=0.98,
)
#: Dramatiq without middleware, for comparison: its threads record nothing, retry nothing, and
#: enforce no limits.
DRAMATIQ = replace(
    crowd.DRAMATIQ_BARE,
    count=COUNT,
    settings={**crowd.DRAMATIQ_BARE.settings, "BENCH_SECONDS": str(SHORT_S)},
)
BESIDE = Figure(f"10 ms tasks ÷ {DRAMATIQ.name}", "the same tasks, two processes of 8 threads each")


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured, beside = Measured(FIGURE, "tasks/s"), Measured(BESIDE, "tasks/s")
    sides = [_tasks, _threads, _dramatiq]
    for number in range(rounds):
        rates = {side: await side(stage) for side in (sides if number % 2 == 0 else reversed(sides))}
        measured.rounds.append(Round(rates[_tasks], rates[_threads]))
        beside.rounds.append(Round(rates[_tasks], rates[_dramatiq]))
        log.info(
            "completed 10 ms task bodies per second (tasks, bare threads, Dramatiq): %s",
            [round(rates[side]) for side in sides],
        )
    return [measured, beside]


async def _tasks(stage: Stage) -> float:
    async with ours.running(stage) as platform:
        return await ours.drain(platform, SHORT, Nothing(), stage.count(COUNT))


async def _dramatiq(stage: Stage) -> float:
    return await drain(DRAMATIQ, stage)


async def _threads(stage: Stage) -> float:
    await stage.settle()
    each = stage.count(COUNT) // ours.WORKERS
    folder = Path(tempfile.mkdtemp(prefix="threads-", dir=stage.folder))
    with Programs(folder, {tally.VARIABLE: str(folder)}) as programs:
        for _ in range(ours.WORKERS):
            programs.start(sys.executable, "-m", bare_loop.__name__, str(each))
        return (await tally.reaches(folder, each * ours.WORKERS, programs.check)).rate


BENCHMARK = Benchmark("ten_ms", measure)
