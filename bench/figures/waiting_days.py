"""The rate of tasks while others wait that were submitted all through the past year."""

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

#: Days of which tasks wait. A new ledger has nine days, yesterday and the week ahead among them.
MANY, FEW = 366, 1
#: Tasks that wait, on both sides.
WAITING = 36_600
#: Tasks that are queued at once, and how often that happens on each side in a round.
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
ENDED = Statement("""
    SELECT count(*) AS count, extract(epoch FROM max(completed_at) - min(claimed_at))::float8 AS seconds
    FROM task WHERE id >= :first AND name = :name AND completed_at IS NOT NULL
""")


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Both sides have processes, a ledger and a Redis of their own, and bursts by turns.

    A burst takes a second or two, so whatever else the machine does hits both.
    """
    measured = Measured(FIGURE, "tasks/s")
    many, few = crew.platform(stage, redis=1), crew.platform(stage, redis=2)
    for platform, days in ((many, MANY), (few, FEW)):
        await _fill(platform, days, stage.count(WAITING))
    async with many, few, crew.working(many), crew.working(few):
        for _ in range(rounds):
            taken = Round(*await _round(many, few, stage.count(BURST)))
            measured.rounds.append(taken)
            log.info("%d days: %.0f tasks/s, 9 days: %.0f tasks/s", MANY, taken.ours, taken.theirs)
    return [measured]


async def _fill(platform: Platform, days: int, count: int) -> None:
    """A ledger whose daily cleanup has run."""
    async with platform:
        # It has seen Redis and the ledger empty: nothing that is queued from now on is sent again.
        await ours.start_scheduler(platform)
        await crew.stop(platform)
        yesterday_and_before = filler.days_before(datetime.now(UTC).date(), first=1, count=days)
        await filler.fill_waiting(platform.database_url, yesterday_and_before, count)
        cleaned = await clean(platform)
        assert cleaned.partitions_kept == {}
        await filler.settle(platform.database_url)
        attached = [row["table"] for row in await platform.rows(partitions.EXISTING)].count("task")
        log.info("%d days with tasks: %d partitions", days, attached)


async def _round(many: Platform, few: Platform, tasks: int) -> tuple[float, float]:
    rates: dict[Platform, list[float]] = {many: [], few: []}
    for number in range(BURSTS):
        for platform in (many, few) if number % 2 else (few, many):
            rates[platform].append(await _burst(platform, tasks))
    return statistics.median(rates[many]), statistics.median(rates[few])


async def _burst(platform: Platform, tasks: int) -> float:
    """Tasks per second, from the first claim to the last end."""
    first = first_uuid7(await crew.now(platform))
    await crew.queue(platform, tasks)
    async with asyncio.timeout(120):
        while True:
            (row,) = await platform.rows(BUSY)
            if not row["any"]:
                break
            await asyncio.sleep(ASK_EVERY_S)
    (row,) = await platform.rows(ENDED, first=first, name=HEALTH_CHECK.name)
    assert row["count"] == tasks, f"{row['count']} of {tasks} tasks ended"
    return float(tasks / row["seconds"])


BENCHMARK = Benchmark("waiting_days", measure, rounds=9)
