"""Checks after a fault of the drill that the database contains what it should: no task is lost,
duplicated or ended wrongly.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

from shared.ledger.lifecycle import FINAL
from tests.drill.client_log import Accepted
from tests.drill.load import EACH_SECOND, MIX
from tests.platform import Platform
from tests.sample_tasks import EFFECT, FAIL, SPIN, Spawns

FIRED = "SELECT fire_time, outcome, task_id FROM schedule_firing WHERE schedule = {} ORDER BY fire_time"


@dataclass(frozen=True)
class Count:
    """How often each invariant of the drill was broken.

    `reruns` and `ran_twice` may be above zero if workers died, because their tasks are then run
    again.
    """

    #: Number of accepted tasks that are missing in the database, of missing child tasks, and of
    #: seconds in which the schedule did not fire.
    lost: int
    #: Number of tasks that no answer to a client contains, and of excess child tasks and firings.
    doubled: int
    #: Number of submissions that were never answered, and of those whose answers contradict each
    #: other.
    misinformed: int
    #: Number of tasks whose effect, which they commit together with their outcome (`complete_in`),
    #: did not occur exactly once.
    effects_wrong: int
    #: Number of tasks with a recorded crash, although no task of the drill crashes its worker.
    blamed: int
    wrong_end: int
    #: Number of tasks that failed for another reason than their body gave, for example because the
    #: platform considered their result unstorable.
    misjudged: int
    #: Number of tasks whose body returned a result more than once.
    ran_twice: int
    #: Number of starts of tasks after the first one that are not explained by a failure of the
    #: body.
    reruns: int
    #: Number of starts after the first one of the task that blocks its worker's interpreter.
    spin_reruns: int

    def broken(self, *, deaths: bool, again: bool = False) -> list[str]:
        """Names of the invariants that were broken, except those that this fault may break.

        `deaths` means that workers have died, and `again` that they have died one after another.
        """
        allowed = {"reruns", "spin_reruns", "ran_twice"} if deaths else set()
        allowed |= {"blamed"} if again else set()
        return [f.name for f in fields(self) if f.name not in allowed and getattr(self, f.name)]


async def count(platform: Platform, accepted: Accepted, returned: Mapping[UUID, int]) -> Count:
    """Compare the tasks in the database with the log of the clients. `returned` says how often each
    body returned a result.
    """
    every = await platform.rows("SELECT * FROM task WHERE created_at > now() - interval '1 day'")
    # Tasks of workflows are left out here, because the fault that submits workflows checks them
    # itself.
    rows = [row for row in every if row["workflow"] is None]
    known = {UUID(int=row["id"].int) for row in rows}
    children = sum(number * task.params.children for number, task in MIX if isinstance(task.params, Spawns))
    spawned = sum(row["parent"] is not None for row in rows)
    missed, twice = await _seconds(platform, rows)
    return Count(
        lost=len(accepted.ids - known) + max(0, children - spawned) + missed,
        doubled=max(0, spawned - children) + len(_submitted(rows) - accepted.ids) + twice,
        misinformed=accepted.unanswered + accepted.contradicted,
        effects_wrong=await _wrong_effects(platform, every),
        blamed=sum(row["crashes"] > 0 for row in rows),
        wrong_end=sum(row["status"] != _expected(row) for row in rows if row["status"] in FINAL),
        misjudged=sum(row["status"] == "failure" and row["error_kind"] != _reason(row) for row in rows),
        ran_twice=sum(times > 1 for times in returned.values()),
        reruns=sum(max(0, row["attempt"] - 1 - row["failures"]) for row in rows if row["name"] != FAIL.name),
        spin_reruns=sum(row["attempt"] - 1 for row in rows if row["name"] == SPIN.name),
    )


def _submitted(rows: Sequence[dict[str, Any]]) -> Set[UUID]:
    """Ids of the tasks that the drill and its clients submitted. All other tasks were submitted by
    task bodies or by the schedule, which has no owner.
    """
    samples = (row for row in rows if row["name"].startswith("sample.") and row["parent"] is None)
    ordered = (row for row in rows if row["owner"] is not None)
    return {UUID(int=row["id"].int) for row in (*samples, *ordered)}


async def _wrong_effects(platform: Platform, rows: Sequence[dict[str, Any]]) -> int:
    effects = Counter(
        UUID(int=row["task_id"].int) for row in await platform.rows("SELECT task_id FROM effect")
    )
    acted = {UUID(int=r["id"].int) for r in rows if r["name"] == EFFECT.name and r["status"] == "success"}
    return sum(effects[task_id] != 1 for task_id in acted | set(effects))


async def _seconds(platform: Platform, rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Number of seconds in which the schedule did not fire, and number of firings in excess of one
    per second.
    """
    fired = await platform.rows(FIRED, EACH_SECOND)
    first, last = fired[0]["fire_time"], fired[-1]["fire_time"]
    wanted = (last - first) // timedelta(seconds=1) + 1
    submitted = {row["fire_time"] for row in fired if row["outcome"] == "submitted"}
    tasks = sum(row["schedule"] == EACH_SECOND for row in rows)
    return wanted - len(submitted), tasks - len(submitted)


def _expected(row: dict[str, Any]) -> str:
    return "failure" if row["name"] == FAIL.name and '"permanent"' in row["params"] else "success"


def _reason(row: dict[str, Any]) -> str | None:
    """The kind of error with which a task must fail. None if it must succeed."""
    return "permanent" if _expected(row) == "failure" else None
