"""Measures the task rate while tasks from every day of the past year wait, compared with waiting
tasks from one day.
"""

import asyncio
import logging
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

from bench import crew, filler, ours
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from shared.contracts.system import HEALTH_CHECK
from shared.ledger import partitions
from shared.ledger.ids import first_uuid7
from shared.ledger.statement import Statement
from tests.old_days import clean
from tests.platform import Platform

log = logging.getLogger(__name__)

#: Numbers of past days whose tasks still wait, on the two sides of the comparison. A new database
#: has partitions for nine days: yesterday, today, and the week ahead.
MANY, FEW = 366, 1
#: Number of waiting tasks, the same on both sides of the comparison.
WAITING = 36_600
#: Number of no-op tasks in a burst, and number of bursts on each side in a round.
BURST, BURSTS = 2_500, 6
ASK_EVERY_S = 0.05

FIGURE = Figure(
    "waiting days",
    f"no-op tasks/s, median of {BURSTS} bursts of {BURST:,}, while {WAITING:,} tasks of {MANY} days wait and "
    "maintenance.cleanup_old_tasks has run ÷ while as many wait in a new ledger, which has 9 days",
    required=0.95,
    target=1.0,
)

BUSY = Statement("""
    SELECT EXISTS (SELECT FROM task WHERE sent_at IS NOT NULL)
        OR EXISTS (SELECT FROM task WHERE holder IS NOT NULL) AS any
""")


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Run bursts on both sides alternately. Each side has its own processes, database and Redis.

    A burst takes a second or two, so other load on the machine affects both sides alike.
    """
    measured = Measured(FIGURE, "tasks/s")
    many, few = crew.platform(stage, redis=1), crew.platform(stage, redis=2)
    for platform, days in ((many, MANY), (few, FEW)):
        await _fill(platform, days, stage.count(WAITING))
    async with many, few, crew.working(many), crew.working(few):
        for _ in range(rounds):
            taken = Round(*await _round(many, few, stage.count(BURST)))
            measured.rounds.append(taken)
            log.info(
                "rate with waiting tasks of %d days: %.0f tasks/s, of one day: %.0f tasks/s",
                MANY,
                taken.ours,
                taken.theirs,
            )
    return [measured]


async def _fill(platform: Platform, days: int, count: int) -> None:
    """Store waiting tasks of past days, and run the daily cleanup."""
    async with platform:
        # The scheduler starts before tasks are stored, so its initial comparison sees an empty
        # Redis and an empty database. Otherwise it would send the tasks a second time.
        await ours.start_scheduler(platform)
        await crew.stop(platform)
        yesterday_and_before = filler.days_before(datetime.now(UTC).date(), first=1, count=days)
        await filler.fill_waiting(platform.database_url, yesterday_and_before, count)
        cleaned = await clean(platform)
        assert cleaned.partitions_kept == {}
        await filler.settle(platform.database_url)
        attached = [row["table"] for row in await platform.rows(partitions.EXISTING)].count("task")
        log.info("filled %d days with waiting tasks, in %d partitions", days, attached)


async def _round(many: Platform, few: Platform, tasks: int) -> tuple[float, float]:
    rates: dict[Platform, list[float]] = {many: [], few: []}
    for number in range(BURSTS):
        for platform in (many, few) if number % 2 else (few, many):
            rates[platform].append(await _burst(platform, tasks))
    return statistics.median(rates[many]), statistics.median(rates[few])


async def _burst(platform: Platform, tasks: int) -> float:
    """Run a burst of no-op tasks. Returns the tasks per second, from the first claim to the last
    end.
    """
    first = first_uuid7(await crew.now(platform))
    await crew.queue(platform, tasks)
    async with asyncio.timeout(120):
        while True:
            (row,) = await platform.rows(BUSY)
            if not row["any"]:
                break
            await asyncio.sleep(ASK_EVERY_S)
    succeeded, seconds = await crew.burst(platform, first, HEALTH_CHECK.name)
    assert succeeded == tasks, f"{succeeded} of {tasks} tasks succeeded"
    return tasks / seconds


BENCHMARK = Benchmark("waiting_days", measure, rounds=9)
