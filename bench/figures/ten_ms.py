"""Tasks of 10 ms beside threads that do nothing but run the same body in a loop."""

import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import bare_loop, ours, tally
from bench.figure import Benchmark, Figure, Measured, Round
from bench.programs import Programs
from bench.stage import Stage
from bench.tasks import SHORT, Nothing

log = logging.getLogger(__name__)

COUNT = 32_000

FIGURE = Figure(
    "10 ms tasks",
    f"rate of {COUNT:,} tasks whose body sleeps 10 ms, two workers of 8 threads ÷ two processes of 8 threads "
    "that loop the same body",
    required=0.95,
    target=0.98,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "tasks/s")
    sides = [_tasks, _threads]
    for number in range(rounds):
        rates = {side: await side(stage) for side in (sides if number % 2 == 0 else reversed(sides))}
        measured.rounds.append(Round(rates[_tasks], rates[_threads]))
        log.info("10 ms tasks: %.0f/s, bare threads: %.0f/s", rates[_tasks], rates[_threads])
    return [measured]


async def _tasks(stage: Stage) -> float:
    async with ours.running(stage) as platform:
        return await ours.drain(platform, SHORT, Nothing(), stage.count(COUNT))


async def _threads(stage: Stage) -> float:
    await stage.settle()
    each = stage.count(COUNT) // ours.WORKERS
    folder = Path(tempfile.mkdtemp(prefix="threads-", dir=stage.folder))
    with Programs(folder, {tally.VARIABLE: str(folder)}) as programs:
        for _ in range(ours.WORKERS):
            programs.start(sys.executable, "-m", bare_loop.__name__, str(each))
        return (await tally.reaches(folder, each * ours.WORKERS, programs.check)).rate


BENCHMARK = Benchmark("ten_ms", measure)
