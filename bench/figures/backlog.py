"""Measures the task rate with a backlog of a million tasks, compared with a backlog of a few
thousand.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from bench import crew, filler, ours
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from tests.eventually import eventually
from tests.platform import Platform

MANY, FEW = 1_000_000, 10_000
#: Number of tasks that are stored as already ended, on the same day as the backlog.
ENDED = 10_000
#: Number of tasks that each side runs as a warm-up, and during the measurement. The measurement
#: lasts long enough for the scheduler to check the Redis lists once (every 10 s) and the backlog
#: twice.
WARM, TASKS = 3_000, 50_000
TIMEOUT_S = 300.0

FIGURE = Figure(
    "backlog",
    f"no-op tasks/s over {TASKS:,} tasks with {MANY:,} queued ÷ with {FEW:,}, two workers and a scheduler; "
    "what is taken is replaced",
    required=0.95,
    target=1.0,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure both sides alternately. Each side has its own database and Redis, and new processes
    in each round.
    """
    measured = Measured(FIGURE, "tasks/s")
    many, few = crew.platform(stage, redis=1), crew.platform(stage, redis=2)
    levels = {many: stage.count(MANY), few: stage.count(FEW)}
    for platform, level in levels.items():
        await _fill(platform, level)
    for _ in range(rounds):
        ours, theirs = [await _rate(p, level, stage.count(TASKS)) for p, level in levels.items()]
        measured.rounds.append(Round(ours, theirs))
    return [measured]


async def _fill(platform: Platform, level: int) -> None:
    """Fill the database: first one quiet day, from which the query planner takes its statistics,
    then the backlog.
    """
    async with platform:
        # The scheduler starts before the database is filled, so its initial comparison sees an
        # empty Redis and an empty database. Otherwise it would send the queued tasks a second time.
        await ours.start_scheduler(platform)
        today = [datetime.now(UTC).date()]
        await filler.fill(platform.database_url, today, ENDED, owners=100, attempts=False)
        await crew.queue(platform, level)
        await filler.settle(platform.database_url, analyze=False)


async def _rate(platform: Platform, level: int, tasks: int) -> float:
    async with platform, crew.working(platform), crew.fed(platform, level) as feed:
        await eventually(lambda: feed.taken >= WARM, TIMEOUT_S)
        begin = await crew.now(platform)
        await eventually(lambda: feed.taken >= WARM + tasks, TIMEOUT_S)
        return await crew.rate(platform, begin, await crew.now(platform))


BENCHMARK = Benchmark("backlog", measure)
