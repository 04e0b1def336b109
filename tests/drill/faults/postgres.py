"""Faults of the drill that concern Postgres: it is frozen, killed or unavailable, or a new day with
new partitions begins.
"""

import asyncio

import psutil

from services.scheduler.partitioner import Partitioner
from shared.contracts.maintenance import CLEANUP_OLD_TASKS, CleanupOldTasks
from tests.drill import calendar
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.eventually import eventually

FREEZE_S = 30.0
AWAY_S = 60.0
#: Maximum number of megabytes by which a worker may grow while Postgres is unavailable. If it
#: stored outcomes without a limit, it would grow by hundreds.
GROWTH_LIMIT_MB = 64


@fault(f"SIGSTOP of Postgres, {FREEZE_S:g} s", promised_s=5, parts="postgres")
async def freeze_postgres(crew: Crew) -> None:
    with crew.servers.postgres.frozen():
        await asyncio.sleep(FREEZE_S)


@fault("kill -9 of Postgres, which recovers", promised_s=5, parts="postgres")
async def kill_postgres(crew: Crew) -> None:
    crew.servers.postgres.kill()
    await crew.servers.postgres.start()


@fault(f"Postgres away, {AWAY_S:g} s", promised_s=5, parts="postgres api workers")
async def leave_without_postgres(crew: Crew) -> str:
    workers = [psutil.Process(pid) for pid in crew.live()]
    before = [worker.memory_info().rss for worker in workers]
    refused = crew.customers.refused
    crew.servers.postgres.kill()
    await asyncio.sleep(AWAY_S)
    grown = max(worker.memory_info().rss - rss for worker, rss in zip(workers, before, strict=True)) / 2**20
    refused = crew.customers.refused - refused
    await crew.servers.postgres.start()
    assert refused, "the API did not answer 503"
    assert grown < GROWTH_LIMIT_MB, f"a worker grew by {grown:.0f} MB"
    return f"{refused} answers 503, a worker grew by {max(grown, 0):.1f} MB"


@fault(
    "a new day begins, one is made, an old one dropped",
    promised_s=5,
    prepare=calendar.shift,
    load_s=2 * calendar.AHEAD.total_seconds(),
)
async def roll_over(crew: Crew) -> str:
    platform = crew.platform
    last = await calendar.drop_last_day(platform)
    (cleanup,) = await platform.submit(CLEANUP_OLD_TASKS, CleanupOldTasks())
    await Partitioner(platform.database).run_once()
    assert last in await calendar.days(platform), "the day's partition was not created again"
    row = await platform.until(cleanup, "success", timeout_s=60)
    assert f'"tasks_deleted": {calendar.OLD_TASKS}' in row["result"], row["result"]

    async def passed() -> bool:
        return min(await calendar.sides(platform)) > 500

    await eventually(passed, 120)
    before, after = await calendar.sides(platform)
    return f"{before} tasks before midnight, {after} after"


FAULTS = (freeze_postgres, kill_postgres, leave_without_postgres, roll_over)
