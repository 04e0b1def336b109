"""Measures workflows compared with those of other task systems: chains of no-op steps, and one
chord of no-op tasks.
"""

import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import flows, ours, tally
from bench.figure import Benchmark, Figure, Measured, Round
from bench.peers import crowd, peer
from bench.peers.peer import Peer
from bench.processor import Cost, Meter
from bench.stage import Stage

log = logging.getLogger(__name__)

#: Number of steps in a chain of the benchmark.
STEPS = 10
#: Number of tasks of this project in a run: the steps of all chains, or the members of one chord.
#: `bench/peers/crowd.py` has the numbers for the other task systems.
COUNT = 10_000
PEERS = (crowd.CELERY_CANVAS, crowd.DBOS)
SHAPES = CHAIN, CHORD = "chains", "chord"
#: Number of rounds. A round takes two minutes, and the measured ratios are so far from 1 that three
#: rounds are enough.
ROUNDS = 3
#: Interval in seconds at which the number of finished bodies is read until a quarter of them is
#: done, which is when processor time is read first.
LOOK_EVERY_S = 0.005


@dataclass(frozen=True)
class Run:
    """The results of one task system with one kind of workflow: chains or a chord."""

    #: Tasks per second, from the first start until everything is recorded.
    rate: float
    #: Processor time per task, measured over the last three quarters of the tasks.
    cost: Cost


def _what(shape: str, count: int) -> str:
    if shape == CHAIN:
        return f"{count // STEPS:,} chains of {STEPS} no-op steps"
    return f"a chord of {count:,} no-op tasks"


def figures(shape: str, other: Peer) -> tuple[Figure, Figure]:
    """The two figures, rate and cost, that compare this project with one other task system."""
    both = f"{_what(shape, COUNT)} (there {_what(shape, other.count)}), all queued first"
    return (
        Figure(f"{shape} ÷ {other.name}", f"steps/s of {both}, two worker processes each"),
        Figure(
            f"{shape}, cost ÷ {other.name}",
            "processor time of all processes, Postgres and Redis included, per step of the last three "
            f"quarters of {both}; two worker processes each",
            lower_is_better=True,
        ),
    )


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    lines: list[Measured] = []
    for shape in SHAPES:
        lines += await _measure(shape, stage, rounds)
    return lines


async def _measure(shape: str, stage: Stage, rounds: int) -> list[Measured]:
    measured = {
        other: (Measured(rate, "steps/s"), Measured(cost, "µs"))
        for other in PEERS
        for rate, cost in [figures(shape, other)]
    }
    sides: list[Peer | None] = [None, *PEERS]
    for number in range(rounds):
        runs = {
            side: await _run(side, shape, stage) for side in (sides if number % 2 == 0 else reversed(sides))
        }
        for other, (rate, cost) in measured.items():
            rate.rounds.append(Round(runs[None].rate, runs[other].rate))
            cost.rounds.append(Round(runs[None].cost.total, runs[other].cost.total))
    return [line for pair in measured.values() for line in pair]


async def _run(side: Peer | None, shape: str, stage: Stage) -> Run:
    """Measure another task system, or this project if `side` is None."""
    run = await (_of_peer(side, shape, stage) if side else _of_ours(shape, stage))
    name = side.name if side else "this project"
    log.info("%s of %s: %.0f steps/s, %s", shape, name, run.rate, run.cost)
    return run


async def _of_ours(shape: str, stage: Stage) -> Run:
    count = stage.count(COUNT)
    async with ours.running(stage) as platform:
        if shape == CHAIN:
            await flows.submit(platform, flows.chain(STEPS), count // STEPS)
        else:
            await flows.submit(platform, flows.chord(count))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            ours.start_workers(platform, **{tally.VARIABLE: folder})

            def check() -> None:
                for process in platform.processes:
                    assert process.poll() is None, platform.log_of(process)

            async def recorded(last: float) -> float:
                await flows.finished(platform)
                return time.time()

            processes = [psutil.Process(process.pid) for process in platform.processes]
            return await _worked_off(stage, Path(folder), tasks_of(shape, count), processes, check, recorded)


async def _of_peer(other: Peer, shape: str, stage: Stage) -> Run:
    await stage.settle()
    count = stage.count(other.count)
    with peer.running(other, stage) as place:
        place.run("flows", shape, *map(str, [count // STEPS, STEPS] if shape == CHAIN else [count]))
        place.start_workers()

        async def recorded(last: float) -> float:
            if other.recorded is None:
                return last
            await place.recorded(other.recorded)
            return time.time()

        processes = place.programs.roots()
        tasks, check = tasks_of(shape, count), place.programs.check
        return await _worked_off(stage, place.folder, tasks, processes, check, recorded)


def tasks_of(shape: str, count: int) -> int:
    """Number of bodies that run: the steps of all chains, or the members of a chord and the chord's
    body.
    """
    return count // STEPS * STEPS if shape == CHAIN else count + 1


async def _worked_off(
    stage: Stage,
    folder: Path,
    tasks: int,
    processes: Sequence[psutil.Process],
    check: Callable[[], None],
    recorded: Callable[[float], Awaitable[float]],
) -> Run:
    """Wait until all bodies have ended and their ends are recorded.

    `recorded` takes the time at which the last body ended, and returns the time of the last record.
    """
    meter = Meter({"its processes": processes, "Postgres": [stage.postgres], "Redis": [stage.valkey]})
    quarter = await tally.reaches(
        folder, tasks // 4, check, processes=ours.WORKERS, look_every_s=LOOK_EVERY_S
    )
    begin = meter.read(quarter.count)
    span = await tally.reaches(folder, tasks, check)
    end = await recorded(span.last)
    return Run(tasks / (end - span.first), meter.read(tasks).since(begin))


BENCHMARK = Benchmark("workflows", measure, rounds=ROUNDS)
