"""What runs while something breaks: five thousand tasks of every kind; what must be true of them after."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.ledger.lifecycle import FINAL
from shared.submission import NewTask
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

#: How often each kind occurs; the sum is the load. Two seconds and the interpreter kept for 30 s are rare.
MIX: list[tuple[int, NewTask]] = [
    (3_399, NewTask(contract=INSTANT, params=Nothing())),
    (1_000, NewTask(contract=WAIT, params=Seconds(seconds=0.05))),
    (40, NewTask(contract=WAIT, params=Seconds(seconds=2))),
    (150, NewTask(contract=FAIL, params=Fails(kind="permanent"))),
    (150, NewTask(contract=FAIL, params=Fails(kind="expected", times=1))),
    (60, NewTask(contract=SPAWN, params=Spawns(children=3))),
    (200, NewTask(contract=EFFECT, params=Seconds(seconds=0.01))),
    (1, NewTask(contract=SPIN, params=Seconds(seconds=30))),
]
CHUNK = 500


@dataclass(frozen=True)
class Count:
    """The ledger after a scenario."""

    tasks: int
    lost: int
    stuck: int
    #: Tasks whose effect is there another number of times than once.
    effects_wrong: int
    #: Starts beyond the first that no failure of the body explains.
    reruns: int
    blamed: int
    spin_rescued: int
    wrong_end: int

    @property
    def sound(self) -> bool:
        return not (self.lost or self.stuck or self.effects_wrong or self.blamed or self.wrong_end)


async def submit(platform: Platform) -> list[UUID]:
    """The whole mix, the kinds side by side."""
    tasks = [task for count, task in MIX for _ in range(count)]
    tasks = [tasks[i] for start in range(CHUNK) for i in range(start, len(tasks), CHUNK)]
    ids: list[UUID] = []
    for start in range(0, len(tasks), CHUNK):
        ids += await platform.submitter.submit(tasks[start : start + CHUNK])
        await asyncio.sleep(0)
    await platform.submitter.mark()
    return ids


async def open_tasks(platform: Platform) -> int:
    (row,) = await platform.rows(
        "SELECT count(*) AS n FROM task WHERE NOT status = ANY({}::text[])", list(FINAL)
    )
    return int(row["n"])


async def count(platform: Platform, ids: Sequence[UUID]) -> Count:
    rows = await platform.rows("SELECT * FROM task")
    known = {UUID(int=row["id"].int) for row in rows}
    effects: Counter[UUID] = Counter()
    for row in await platform.rows("SELECT task_id FROM effect"):
        effects[UUID(int=row["task_id"].int)] += 1
    acted = [UUID(int=r["id"].int) for r in rows if r["name"] == EFFECT.name and r["status"] == "success"]
    spawned = sum(row["parent"] is not None for row in rows)
    return Count(
        tasks=len(rows),
        lost=len(set(ids) - known) + max(0, _children() - spawned),
        stuck=sum(row["status"] not in FINAL for row in rows),
        effects_wrong=sum(effects[task_id] != 1 for task_id in acted) + abs(len(effects) - len(acted)),
        reruns=sum(max(0, row["attempt"] - 1 - row["failures"]) for row in rows if row["name"] != FAIL.name),
        blamed=sum(row["crashes"] > 0 for row in rows),
        spin_rescued=sum(row["attempt"] > 1 for row in rows if row["name"] == SPIN.name),
        wrong_end=sum(row["status"] != _expected(row) for row in rows if row["status"] in FINAL)
        + max(0, spawned - _children()),
    )


def _children() -> int:
    return sum(count * task.params.children for count, task in MIX if isinstance(task.params, Spawns))


def _expected(row: dict[str, Any]) -> str:
    return "failure" if row["name"] == FAIL.name and '"permanent"' in row["params"] else "success"
