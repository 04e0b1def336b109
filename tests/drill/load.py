"""The load during a fault of the drill: five thousand tasks of all kinds."""

import asyncio
import hashlib
from uuid import UUID, uuid4

from shared.ledger.lifecycle import FINAL
from shared.new_task import NewTask
from shared.schedules import statements as schedules
from shared.submission import OnceKey
from tests.drill.crew import Crew
from tests.drill.database import PASSING
from tests.platform import Platform
from tests.sample_tasks import (
    EFFECT,
    FAIL,
    INSTANT,
    SPAWN,
    SPIN,
    WAIT,
    Fails,
    Nothing,
    Seconds,
    Spawns,
)

#: The tasks of the load, with the number of each kind. Few of them take 2 s. One task blocks its
#: worker's interpreter for 30 s, and it is submitted first.
MIX: list[tuple[int, NewTask]] = [
    (1, NewTask(contract=SPIN, params=Seconds(seconds=30))),
    (3_399, NewTask(contract=INSTANT, params=Nothing())),
    (1_000, NewTask(contract=WAIT, params=Seconds(seconds=0.05))),
    (40, NewTask(contract=WAIT, params=Seconds(seconds=2))),
    (150, NewTask(contract=FAIL, params=Fails(kind="permanent"))),
    (150, NewTask(contract=FAIL, params=Fails(kind="expected", times=1))),
    (60, NewTask(contract=SPAWN, params=Spawns(children=3))),
    (200, NewTask(contract=EFFECT, params=Seconds(seconds=0.01))),
]
CHUNK = 100
AGAIN_S = 0.2
EACH_SECOND = "each second"


async def submit(crew: Crew, *, over_s: float = 0.0) -> None:
    """Submit all tasks of the load, with their kinds mixed, spread over `over_s` seconds. Each
    submission is repeated until Postgres accepts it.
    """
    tasks = [task for count, task in MIX for _ in range(count)]
    chunks = len(tasks) // CHUNK
    tasks = [tasks[i] for start in range(chunks) for i in range(start, len(tasks), chunks)]
    for start in range(0, len(tasks), CHUNK):
        async with crew.submitting:
            await submit_once(crew, tasks[start : start + CHUNK])
        await asyncio.sleep(over_s / chunks)


async def submit_once(crew: Crew, tasks: list[NewTask]) -> list[UUID]:
    """Submit tasks, repeatedly under one idempotency key until Postgres accepts them."""
    once = OnceKey(scope="drill", key=str(uuid4()), body_hash=hashlib.sha256(b"drill").digest())
    crew.log.asks(once.key, len(tasks))
    while True:
        try:
            ids, _ = await crew.platform.submitter.submit_once(tasks, once)
        except PASSING:
            await asyncio.sleep(AGAIN_S)
        else:
            crew.log.was_told(once.key, ids)
            return ids


async def tick(platform: Platform) -> None:
    """Create a schedule that fires each second. Times that it misses are fired afterwards."""
    (clock,) = await platform.rows(
        "SELECT date_trunc('second', now()) AS now, now() - interval '1 s' AS before"
    )
    columns = {"name": EACH_SECOND, "task_name": "system.health_check", "params": "{}"}
    timing = {"kind": "interval", "expression": "1 s", "misfire": "all", "starts_at": clock["before"]}
    assert await schedules.insert(platform.database, columns | timing | {"next_fire_time": clock["now"]})


async def stop_ticking(platform: Platform) -> None:
    await platform.rows("UPDATE schedule SET enabled = false, next_fire_time = NULL")


OPEN = "SELECT id, name, holder FROM task WHERE NOT status = ANY({}::text[])"


async def open_tasks(platform: Platform) -> int:
    """Number of tasks that have not ended."""
    return len(await platform.rows(OPEN, list(FINAL)))


async def open_apart(platform: Platform) -> int:
    """Number of tasks that have not ended, without the task that blocks its worker's interpreter
    and without other tasks of the same worker.
    """
    rows = await platform.rows(OPEN, list(FINAL))
    busy = {row["holder"] for row in rows if row["name"] == SPIN.name and row["holder"]}
    fetched = {i.int for worker in busy for i in await platform.queues.unacked(UUID(int=worker.int))}
    apart = [row for row in rows if row["name"] != SPIN.name and row["holder"] not in busy]
    return sum(row["id"].int not in fetched for row in apart)
