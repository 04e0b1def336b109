"""Measures the cost of tracing, when one of a hundred tasks is traced: in whole runs, and of the
attempt alone.

Whole runs vary by 15 % on a shared machine, which hides an effect of 2 %. Everything that tracing
adds to a task happens within its attempt and in the exporter, whose processor time varies less.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence

from bench import traced_attempts, tree
from bench.figure import Benchmark, Figure, Measured, Round
from bench.figures.cost import COUNT, PAIRS
from bench.stage import Stage
from bench.tree import Tracing
from tests.otlp import collecting
from tests.platform import ROOT

log = logging.getLogger(__name__)

WHOLE = Figure(
    "cost of tracing, whole runs",
    "processor time of all processes, Postgres and Redis included, per no-op task, over the last three "
    f"quarters of {COUNT:,} queued tasks, one of 100 of them traced ÷ the same with tracing off",
    required=1.02,
    lower_is_better=True,
    by_interval=True,
)
ADDED = Figure(
    "cost of tracing",
    "processor time per no-op task as in whole runs with tracing off, plus what tracing one of 100 tasks "
    "adds to an attempt and its export ÷ without that",
    required=1.02,
    lower_is_better=True,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    whole, added = Measured(WHOLE, "µs"), Measured(ADDED, "µs")
    with collecting() as collector:
        sides = [collector.url, None]
        for number in range(rounds):
            costs = {
                url: await tree.cost(stage, ROOT, stage.count(COUNT), tracing=Tracing(url))
                for url in (sides if number % 2 == 0 else reversed(sides))
            }
            traced, untraced = costs[collector.url], costs[None]
            whole.rounds.append(Round(traced.total, untraced.total))
            log.info("cost with tracing: %s, without: %s", traced, untraced)
            added_us = await _added_us(collector.url)
            added.rounds.append(Round(untraced.total + added_us, untraced.total))
            log.info("tracing adds %.2f µs to an attempt", added_us)
    return [whole, added]


async def _added_us(collector: str) -> float:
    """Processor time in µs that tracing one of a hundred tasks adds to a task."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", traced_attempts.__name__, collector),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return float(answer)


BENCHMARK = Benchmark("tracing", measure, rounds=PAIRS)
