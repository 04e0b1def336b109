"""Checks after a fault of the drill that the processes work: new tasks are completed, each worker
runs tasks, and the standby scheduler takes over.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from shared.contracts.contract import HIGHEST_PRIORITY
from shared.new_task import NewTask
from tests.drill import load
from tests.drill.crew import Crew
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds

#: Seconds for which the drill waits at most until new tasks are completed.
FRESH_LIMIT_S = 60.0
#: Seconds within which a process must show that it works. An idle process answers within
#: milliseconds, but the election of a leader takes 4.5 s.
WORKS_WITHIN_S = 20.0
FRESH = NewTask(contract=INSTANT, params=Nothing(), priority=HIGHEST_PRIORITY)
#: A task that takes long enough that, of 32 such tasks, both workers get some.
SHARED = NewTask(contract=WAIT, params=Seconds(seconds=0.05))
SHARED_COUNT = 32

#: SQL that counts the tasks that succeeded. Its parameter is the ids of tasks.
COMPLETED = "SELECT count(*) AS n FROM task WHERE id = ANY({}::uuid[]) AND status = 'success'"
#: SQL that finds the process ids of the workers that ran these tasks. Its parameter is the ids of
#: tasks.
WORKED = """
    SELECT DISTINCT w.pid FROM task AS t JOIN worker AS w ON w.id = t.worker
    WHERE t.id = ANY({}::uuid[]) AND t.status = 'success'
"""
TERM = "SELECT term FROM leader_lease WHERE expires_at > clock_timestamp()"


@dataclass(frozen=True)
class Fresh:
    """How long after the fault the API accepted a new task, and how long the workers took to
    complete a new task.
    """

    accepted_s: float
    completed_s: float

    @property
    def seconds(self) -> float:
        return max(self.accepted_s, self.completed_s)

    def __str__(self) -> str:
        return f"{self.accepted_s:.1f} / {self.completed_s:.1f}"


async def fresh(crew: Crew) -> Fresh:
    """Submit new tasks, and measure how long it takes from now until they are accepted and
    completed. A task that is never completed counts as `FRESH_LIMIT_S`.
    """
    began = time.monotonic()
    ids = await load.submit_once(crew, [FRESH])

    async def accepted() -> float:
        await _within(FRESH_LIMIT_S, lambda: crew.visitor.has_accepted_since(began))
        return time.monotonic() - began

    async def completed() -> float:
        await _within(FRESH_LIMIT_S, lambda: _have_completed(crew.platform, ids))
        return time.monotonic() - began

    return Fresh(*await asyncio.gather(accepted(), completed()))


async def idle_workers(crew: Crew) -> int:
    """Number of live workers that have completed none of the tasks that were submitted for both."""
    ids: list[UUID] = []

    async def idle() -> set[int]:
        return set(crew.live()) - {row["pid"] for row in await crew.platform.rows(WORKED, ids)}

    async def all_work() -> bool:
        ids.extend(await load.submit_once(crew, [SHARED] * SHARED_COUNT))
        await _within(WORKS_WITHIN_S, lambda: _have_completed(crew.platform, ids))
        return not await idle()

    await _within(WORKS_WITHIN_S, all_work)
    return len(await idle())


async def _have_completed(platform: Platform, ids: list[UUID]) -> bool:
    return bool((await platform.rows(COMPLETED, ids))[0]["n"] == len(ids))


async def _within(limit_s: float, check: Callable[[], bool | Awaitable[bool]]) -> bool:
    """Wait until the check succeeds or the time is over. Returns whether it succeeded."""
    try:
        return bool(await eventually(check, limit_s))
    except AssertionError:
        return False


async def standby_leads(crew: Crew) -> bool:
    """Kill the leading scheduler. Returns whether the other scheduler becomes the leader in time.

    From then on, processes that end are not restarted.
    """
    await crew.stop_keeping()
    before = await _term(crew.platform)
    if before is None:
        return False
    (await crew.leader()).kill()

    async def replaced() -> bool:
        now = await _term(crew.platform)
        return now is not None and now > before

    return await _within(WORKS_WITHIN_S, replaced)


async def _term(platform: Platform) -> int | None:
    rows = await platform.rows(TERM)
    return rows[0]["term"] if rows else None
