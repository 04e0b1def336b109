"""Measures the cost of API requests, compared with a bare handler of the same framework or with
another commit.
"""

import functools
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench import bare_api
from bench.checkout import check_out
from bench.figure import Benchmark, Figure, Measured, Round
from bench.http_load import CONNECTIONS
from bench.http_side import Side, Taken, serving
from bench.stage import Stage

log = logging.getLogger(__name__)

SECONDS = 4.0
ROUNDS = 7
#: Number of pairs of runs, in which this source tree and the other commit's alternate. The 96 %
#: confidence interval of nine ratios ignores the lowest and the highest one.
PAIRS = 9
#: Folder under `var/bench` for the checked-out source tree of the other commit.
BEFORE = "api-before"


@dataclass(frozen=True)
class Kind:
    """A kind of API request that is measured, such as a POST of one task."""

    name: str
    method: str
    path: str
    #: Required request rate of the API, as a share of the bare handler's rate.
    required: float


KINDS = (
    Kind("POST one task", "POST", "/api/v1/tasks", 0.35),
    Kind("GET one task", "GET", "/api/v1/tasks/{task_id}", 0.3),
    Kind("GET a list of 50", "GET", "/api/v1/tasks?limit=50", 0.05),
)


def _figure(kind: Kind) -> Figure:
    return Figure(
        f"api: {kind.name}",
        f"requests/s of {kind.method} {kind.path.replace('{task_id}', '{id}')}, one API process ÷ of a bare "
        f"constant handler of the same framework, {CONNECTIONS} connections",
        required=kind.required,
    )


def _figure_of_cost(kind: Kind) -> Figure:
    return Figure(
        f"api: cost of {kind.name}",
        "processor time per request of the API, Postgres and Redis ÷ of the bare handler's process",
        lower_is_better=True,
    )


def _figure_of_change(kind: Kind, commit: str) -> Figure:
    return Figure(
        f"api: change of {kind.name}",
        f"processor time per request of the API, Postgres and Redis ÷ the same of commit {commit}",
        required=1.03,
        lower_is_better=True,
        by_interval=True,
    )


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure all kinds of requests. No worker runs, so only the load generator, the API, Postgres
    and Redis share the cores.
    """
    rates = {kind: Measured(_figure(kind), "requests/s") for kind in KINDS}
    costs = {kind: Measured(_figure_of_cost(kind), "µs") for kind in KINDS}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(serving(stage))
        bare = await stack.enter_async_context(serving(stage, module=bare_api.__name__, signs_up=False))
        for _ in range(rounds):
            theirs = await bare.take("POST", bare_api.PATH, SECONDS)
            for kind in KINDS:
                taken = await _taken(ours, kind)
                rates[kind].rounds.append(Round(taken.per_s, theirs.per_s))
                costs[kind].rounds.append(Round(taken.cost.total, theirs.cost.parts["API"]))
    return [*rates.values(), *costs.values()]


def against(commit: str) -> Benchmark:
    """A benchmark that compares the API requests of this source tree with those of
    another commit.
    """
    return Benchmark("api", functools.partial(_measure_change, commit), rounds=PAIRS)


async def _measure_change(commit: str, stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = {kind: Measured(_figure_of_change(kind, commit), "µs") for kind in KINDS}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(serving(stage))
        theirs = await stack.enter_async_context(serving(stage, tree=check_out(commit, BEFORE)))
        for number in range(rounds):
            for kind, line in measured.items():
                sides = [ours, theirs] if number % 2 == 0 else [theirs, ours]
                totals = {id(side): (await _taken(side, kind)).cost.total for side in sides}
                line.rounds.append(Round(totals[id(ours)], totals[id(theirs)]))
    return list(measured.values())


async def _taken(side: Side, kind: Kind) -> Taken:
    taken = await side.take(kind.method, kind.path, SECONDS)
    log.info("%s: %.0f requests/s, %s", kind.name, taken.per_s, taken.cost)
    return taken


BENCHMARK = Benchmark("api", measure, rounds=ROUNDS)
