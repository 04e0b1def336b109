"""Measures the processor time of all processes per no-op task, compared with other task systems or
with another commit.
"""

import functools
import logging
from collections.abc import Sequence

from bench import ours, tally, tree
from bench.checkout import check_out
from bench.figure import Benchmark, Figure, Measured, Round
from bench.peers import crowd, peer
from bench.peers.peer import Peer
from bench.processor import Cost, Meter
from bench.stage import Stage
from tests.platform import ROOT

log = logging.getLogger(__name__)

#: Number of tasks in a run, of which the last three quarters are measured. `bench/peers/crowd.py`
#: has the numbers for the other task systems. Those are smaller: their tasks cost more, so fewer
#: tasks use the same processor time.
COUNT = 40_000
PEERS = (crowd.DRAMATIQ, crowd.DRAMATIQ_TUNED, crowd.CELERY_SOLO, crowd.TASKIQ)

#: Number of rounds. A round takes a minute, and the measured ratios are so far from 1 that three
#: rounds are enough.
ROUNDS = 3
#: Number of pairs of runs, in which this source tree and the other commit's alternate. The 96 %
#: confidence interval of nine ratios ignores the lowest and the highest one.
PAIRS = 9
#: Folder under `var/bench` for the checked-out source tree of the other commit.
BEFORE = "before"
#: Interval in seconds at which the number of finished bodies is read until a quarter of the tasks
#: is done, which is when processor time is read first. Another task system runs about 20 bodies per
#: interval.
LOOK_EVERY_S = 0.005


def _figure(other: Peer) -> Figure:
    return Figure(
        f"cost ÷ {other.name}",
        "processor time of all processes, Postgres and Redis included, per no-op task, over the last three "
        f"quarters of {COUNT:,} queued tasks (there {other.count:,}); two worker processes each",
        lower_is_better=True,
    )


def _figure_of_change(commit: str) -> Figure:
    return Figure(
        "cost of a change",
        "processor time of all processes, Postgres and Redis included, per recorded no-op task, over the "
        f"last three quarters of {COUNT:,} queued tasks ÷ the same of commit {commit}",
        required=1.03,
        lower_is_better=True,
        by_interval=True,
    )


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = {other: Measured(_figure(other), "µs") for other in PEERS}
    sides: list[Peer | None] = [None, *PEERS]
    for number in range(rounds):
        totals = {side: await _total(side, stage) for side in (sides if number % 2 == 0 else reversed(sides))}
        for other, line in measured.items():
            line.rounds.append(Round(totals[None], totals[other]))
    return list(measured.values())


async def _total(side: Peer | None, stage: Stage) -> float:
    """The cost per task of another task system, or of this project if `side` is None."""
    cost = await (_cost_of(side, stage) if side else tree.cost(stage, ROOT, stage.count(COUNT)))
    log.info("cost of %s: %s", side.name if side else "this project", cost)
    return cost.total


async def _cost_of(other: Peer, stage: Stage) -> Cost:
    """The marginal cost per task of another task system that uses only Redis, computed as in
    `tree.cost`.

    A task counts as done once its body has ended.
    """
    await stage.settle()
    count = stage.count(other.count)
    with peer.running(other, stage) as place:
        place.enqueue(count)
        place.start_workers()
        meter = Meter({"its processes": place.programs.roots(), "Redis": [stage.valkey]})
        span = await tally.reaches(
            place.folder,
            count // 4,
            place.programs.check,
            processes=ours.WORKERS,
            look_every_s=LOOK_EVERY_S,
        )
        begin = meter.read(span.count)
        await tally.reaches(place.folder, count, place.programs.check)
        return meter.read(count).since(begin)


def against(commit: str) -> Benchmark:
    """A benchmark that compares the cost per task of this source tree with that of
    another commit.
    """
    return Benchmark("cost", functools.partial(_measure_change, commit), rounds=PAIRS)


async def _measure_change(commit: str, stage: Stage, rounds: int) -> Sequence[Measured]:
    before = check_out(commit, BEFORE)
    measured = Measured(_figure_of_change(commit), "µs")
    trees = [ROOT, before]
    for number in range(rounds):
        costs = {
            path: await tree.cost(stage, path, stage.count(COUNT))
            for path in (trees if number % 2 == 0 else reversed(trees))
        }
        measured.rounds.append(Round(costs[ROOT].total, costs[before].total))
        ratio = measured.rounds[-1].ratio
        log.info("cost of this tree: %s, of %s: %s, ratio %.3f", costs[ROOT], commit, costs[before], ratio)
    return [measured]


BENCHMARK = Benchmark("cost", measure, rounds=ROUNDS)
