"""Measures how much the cleanup of old tasks slows down running tasks, and how long the cleanup
takes.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bench import crew, filler
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from shared.contracts.maintenance import CLEANUP_OLD_TASKS, CleanupOldTasks
from tests.eventually import eventually
from tests.platform import Platform

OLD, DAYS = 1_000_000, 4
KEPT_DAYS = CleanupOldTasks().days_old
#: Number of no-op tasks that are kept waiting, so that workers always find some.
LEVEL = 10_000
WARM, BEFORE_S = 3_000, 5.0
#: Interval in seconds at which the benchmark checks whether the cleanup has ended. With 50 checks
#: per second, the checks would take 5 % of all processor time.
ASK_EVERY_S = 0.5

RATE = Figure(
    "dropping: rate",
    f"no-op tasks/s while maintenance.cleanup_old_tasks drops {OLD:,} tasks with their attempts, {DAYS} "
    f"days' partitions ÷ in the {BEFORE_S:g} s before",
    required=0.9,
    target=1.0,
)
SECONDS = Figure(
    "dropping: seconds",
    "from the start to the end of that cleanup",
    required=2.0,
    target=0.5,
    lower_is_better=True,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure in rounds. Each round stores old tasks again and starts new processes."""
    rate, seconds = Measured(RATE, "tasks/s"), Measured(SECONDS, "s")
    old = stage.count(OLD // DAYS) * DAYS
    async with stage.platform() as platform:
        for _ in range(rounds):
            days = filler.days_before(datetime.now(UTC).date(), first=KEPT_DAYS + 1, count=DAYS)
            await filler.fill(platform.database_url, days, old, owners=10_000, attempts=True)
            await filler.index(platform.database_url)
            async with crew.working(platform), crew.fed(platform, LEVEL) as feed:
                await eventually(lambda feed=feed: feed.taken >= WARM, 60)  # type: ignore[misc]
                before = await crew.now(platform)
                await asyncio.sleep(BEFORE_S)
                cleanup = await _clean(platform, old)
            begin, end = cleanup["started_at"], cleanup["completed_at"]
            after = await crew.rate(platform, begin, end)
            rate.rounds.append(Round(after, await crew.rate(platform, before, begin)))
            seconds.rounds.append(Round((end - begin).total_seconds(), 1.0))
    return [rate, seconds]


async def _clean(platform: Platform, old: int) -> dict[str, Any]:
    """Run the cleanup task to its end. Returns its row, which contains the time of the end."""
    (task_id,) = await platform.submit(CLEANUP_OLD_TASKS, CleanupOldTasks())
    async with asyncio.timeout(120):
        while True:
            row = await platform.task(task_id)
            if row["completed_at"] is not None:
                break
            await asyncio.sleep(ASK_EVERY_S)
    result = msgspec.json.decode(row["result"] or "{}", type=dict[str, Any])
    assert result.get("tasks_deleted") == old, row
    return row


BENCHMARK = Benchmark("dropping", measure)
