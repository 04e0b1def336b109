"""Faults of the drill: another session holds locks in Postgres. Statements of the services wait and
time out, and the number of sessions must not grow without limit.
"""

import asyncio

from tests.drill.crew import Crew
from tests.drill.database import ROWS, WHOLE_TABLE, Database
from tests.drill.fault import SETTLE_S, Fault, fault

PROMISED_S = 5.0
#: Seconds between two counts of the open sessions while a lock is held.
COUNT_EVERY_S = 0.5
#: Usual number of sessions of two workers, two schedulers and an API under load. After connections
#: were cut, there are fewer.
USUAL_BACKENDS = 20
#: Number of sessions by which the connection pools may grow while the table is locked.
MORE_BACKENDS = 16
HELD_S, ROUNDS = 3.0, 4
BETWEEN_S = 2.0


def table_lock(
    name: str,
    *,
    seconds: float,
    times: int,
    between_s: float = 5.0,
    settle_s: float = SETTLE_S,
    parts: str = "postgres",
) -> Fault:
    """Create a fault that locks the table of tasks, and counts the sessions of the services while
    it is locked.
    """

    @fault(
        f"task locked, {seconds:g} s{f' {times} times' if times > 1 else ''}",
        name=name,
        promised_s=PROMISED_S,
        settle_s=settle_s,
        parts=parts,
    )
    async def lock(crew: Crew) -> str:
        before = max(USUAL_BACKENDS, await crew.database.backends())
        most = before
        for round_ in range(times):
            async with crew.database.held(WHOLE_TABLE):
                most = max(most, await _most_backends(crew.database, seconds))
            if round_ < times - 1:
                await asyncio.sleep(between_s)
        seen = f"{before} sessions before, up to {most} meanwhile"
        assert most <= before + MORE_BACKENDS, seen
        return seen

    return lock


def time_limit(setting: str, value: str) -> Fault:
    """Create a fault that sets a short time limit for statements, and makes statements wait for
    locks longer than that.
    """

    title = f"{setting} of {value} while locks are held for {HELD_S:g} s"

    @fault(title, name=setting, promised_s=PROMISED_S, parts="postgres")
    async def limit(crew: Crew) -> None:
        async with crew.database.setting(setting, value, cut=True):
            for round_ in range(ROUNDS):
                async with crew.database.held((WHOLE_TABLE, ROWS)[round_ % 2]):
                    await asyncio.sleep(HELD_S)
                await asyncio.sleep(BETWEEN_S)

    return limit


async def _most_backends(database: Database, seconds: float) -> int:
    """The highest number of sessions that is counted during this time."""
    ends = asyncio.get_running_loop().time() + seconds
    most = 0
    while asyncio.get_running_loop().time() < ends:
        most = max(most, await database.backends())
        await asyncio.sleep(COUNT_EVERY_S)
    return most


FAULTS = (
    time_limit("statement_timeout", "800ms"),
    time_limit("lock_timeout", "200ms"),
    table_lock("table_lock", seconds=8, times=3),
    table_lock("table_lock_long", seconds=60, times=1, parts=""),
)
