"""Processor time per no-op task of all processes: beside peers, or beside another commit of this project."""

import functools
import logging
from collections.abc import Sequence

from bench import tally, tree
from bench.checkout import check_out
from bench.figure import Benchmark, Figure, Measured, Round
from bench.peers import crowd, peer
from bench.peers.peer import Peer
from bench.processor import Cost, Meter
from bench.stage import Stage
from tests.platform import ROOT

log = logging.getLogger(__name__)

#: Three quarters of them are measured. A peer's own number keeps it busy for about as long.
COUNT = 40_000
PEERS = (crowd.DRAMATIQ, crowd.DRAMATIQ_TUNED, crowd.CELERY_SOLO, crowd.TASKIQ)

#: Alternating pairs of two commits. With nine, the interval reaches from the second to the eighth ratio.
PAIRS = 9
#: The folder under `var/bench` of the other commit's work tree.
BEFORE = "before"
#: How often the tally is read before a peer's first reading of the meter: in 5 ms, some 20 bodies end.
LOOK_EVERY_S = 0.005


def _figure(other: Peer) -> Figure:
    return Figure(
        f"cost ÷ {other.name}",
        "µs of processor time per no-op task, all processes including Postgres and Redis, between a quarter "
        f"and all of {COUNT:,} (there {other.count:,}) queued tasks; two worker processes each",
        lower_is_better=True,
    )


def _figure_of_change(commit: str) -> Figure:
    return Figure(
        "cost of a change",
        "µs of processor time per recorded no-op task, all processes including Postgres and Redis, between "
        f"a quarter and all of {COUNT:,} queued tasks ÷ of commit {commit}",
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
    """The cost of a peer, or of this project when `side` is None."""
    cost = await (_cost_of(side, stage) if side else tree.cost(stage, ROOT, stage.count(COUNT)))
    log.info("%s: %s", side.name if side else "this project", cost)
    return cost.total


async def _cost_of(other: Peer, stage: Stage) -> Cost:
    """As `tree.cost`, of a peer that uses Redis only; its tasks count when their bodies have ended."""
    await stage.settle()
    count = stage.count(other.count)
    with peer.running(other, stage) as place:
        place.enqueue(count)
        place.start_workers()
        meter = Meter({"its processes": place.programs.roots(), "Redis": [stage.valkey]})
        span = await tally.reaches(place.folder, count // 4, place.programs.check, look_every_s=LOOK_EVERY_S)
        begin = meter.read(span.count)
        await tally.reaches(place.folder, count, place.programs.check)
        return meter.read(count).since(begin)


def against(commit: str) -> Benchmark:
    """Compares this tree with a commit."""
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
        log.info("this tree: %s, %s: %s, ratio %.3f", costs[ROOT], commit, costs[before], ratio)
    return [measured]


BENCHMARK = Benchmark("cost", measure)
