"""What must be true of the ledger after a fault."""

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
    """How often each invariant is broken.

    `reruns` and `ran_twice` break one only where no worker died; a fault that ends workers costs some.
    """

    #: Accepted, and not in the ledger; a child or a second of the schedule that is not there.
    lost: int
    #: Tasks that are in no answer, and more children or firings than were asked for.
    doubled: int
    #: Submissions that were never answered, and those whose answers contradict each other.
    misinformed: int
    #: Effects inside `complete_in` that are there another number of times than once.
    effects_wrong: int
    #: Innocent tasks with a crash to their name.
    blamed: int
    wrong_end: int
    #: Failed for a reason that the body did not give, such as a result that was called unstorable.
    misjudged: int
    #: Tasks whose body returned a result more than once.
    ran_twice: int
    #: Starts beyond the first that no failure of the body explains.
    reruns: int
    #: Of the task that keeps the interpreter.
    spin_reruns: int

    def broken(self, *, deaths: bool, again: bool = False) -> list[str]:
        """Names of the invariants that are broken after deaths, and after deaths that followed each other."""
        allowed = {"reruns", "spin_reruns", "ran_twice"} if deaths else set()
        allowed |= {"blamed"} if again else set()
        return [f.name for f in fields(self) if f.name not in allowed and getattr(self, f.name)]


async def count(platform: Platform, accepted: Accepted, returned: Mapping[UUID, int]) -> Count:
    """Compare with the answers of clients. `returned` says how often each body returned a result."""
    every = await platform.rows("SELECT * FROM task WHERE created_at > now() - interval '1 day'")
    # The fault that submits workflows judges their tasks itself, except for effects.
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
    """Tasks that clients of the drill submitted: bodies submit children, and the schedule has no owner."""
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
    """Seconds of the schedule that did not fire, and tasks beyond one for each."""
    fired = await platform.rows(FIRED, EACH_SECOND)
    first, last = fired[0]["fire_time"], fired[-1]["fire_time"]
    wanted = (last - first) // timedelta(seconds=1) + 1
    submitted = {row["fire_time"] for row in fired if row["outcome"] == "submitted"}
    tasks = sum(row["schedule"] == EACH_SECOND for row in rows)
    return wanted - len(submitted), tasks - len(submitted)


def _expected(row: dict[str, Any]) -> str:
    return "failure" if row["name"] == FAIL.name and '"permanent"' in row["params"] else "success"


def _reason(row: dict[str, Any]) -> str | None:
    """The kind of error that the body of a task raises for good."""
    return "permanent" if _expected(row) == "failure" else None
