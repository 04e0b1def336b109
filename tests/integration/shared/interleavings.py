"""The servers of `test_interleavings`, and the witness: it compares the ledger before and after
each step, and checks what the step has changed.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from prometheus_client import REGISTRY

from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL
from shared.ledger.statement import Statement
from shared.ledger.tables import TABLES
from shared.transport.keys import PRIORITIES, lane_key, rescue_key
from shared.transport.queues import Queues, connect
from shared.vault import Vault
from tests.platform import VAULT_KEYS
from tests.sample_tasks import EFFECT

T = TypeVar("T")

QUEUE = "default"
LANES = [rescue_key(QUEUE), *(lane_key(QUEUE, priority) for priority in PRIORITIES)]
VAULT = Vault.from_setting(VAULT_KEYS)
#: Address of a Redis on which no server listens.
NOWHERE = "redis://127.0.0.1:1"

LOOK = """
    SELECT t.*,
        ARRAY(SELECT a.claim FROM task_attempt AS a WHERE a.task_id = t.id) AS closed_claims,
        ARRAY(SELECT a.attempt FROM task_attempt AS a WHERE a.task_id = t.id) AS closed_attempts,
        ARRAY(SELECT l.claim FROM task_log AS l WHERE l.task_id = t.id) AS logged_claims,
        EXISTS (SELECT FROM task_failure AS f WHERE f.task_id = t.id) AS noted_as_failed,
        (SELECT count(*) FROM effect AS e WHERE e.task_id = t.id) AS effects
    FROM task AS t
"""

#: Moves the ledger's times into the past, which has the same effect as waiting: the ledger's
#: statements compare only these times with the clock.
AGE = Statement("""
    UPDATE task SET created_at = created_at - make_interval(secs => :seconds),
        send_at = send_at - make_interval(secs => :seconds),
        sent_at = sent_at - make_interval(secs => :seconds),
        expires_at = expires_at - make_interval(secs => :seconds)
    WHERE num_nonnulls(send_at, sent_at, holder) > 0
""")
AGE_CHECK = Statement("UPDATE generation SET checked_at = checked_at - make_interval(secs => :seconds)")

PLACES = ("send_at", "sent_at", "holder")

Rows = dict[UUID, dict[str, Any]]


class Ground:
    """The Postgres and Valkey of one test, and the event loop that runs each step to its end."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._runner = asyncio.Runner()
        #: Connection pool for task bodies and the scheduler.
        self.database = Database.for_service(database_url, "test")
        #: Connection pool for the recorders of the workers.
        self.recorder = Database.for_recorder(database_url, "test")
        self.database_url = database_url
        self.queues = Queues(connect(redis_url))
        self.no_queues = Queues(connect(NOWHERE))
        #: How often each kind of situation has occurred.
        self.happened: Counter[str] = Counter()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._runner.get_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a new `contextvars` context, as a service does with each round of its
        background loops.
        """
        task = self.loop.create_task(work, context=contextvars.Context())
        return self.loop.run_until_complete(task)

    async def open(self) -> None:
        self.database.bind(TABLES)
        await self.database.open(size=2)
        await self.recorder.open(size=2)
        await self.database.run("CREATE TABLE effect (task_id uuid)")

    def close(self) -> None:
        self.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        await self.queues.client.aclose()
        await self.no_queues.client.aclose()
        await self.recorder.close()
        await self.database.close()

    async def clean(self) -> None:
        """Delete all rows and keys, except the row with the generation, whose number may only grow.

        TRUNCATE would be slower.
        """
        for table in ("task", "task_attempt", "task_log", "task_failure", "worker", "effect"):
            await self.database.run(f"DELETE FROM {table}")
        await self.queues.client.flushdb()

    async def look(self) -> tuple[Rows, bool]:
        """Read all tasks of the ledger, and whether any lane in Redis contains ids."""
        rows = {UUID(int=row["id"].int): row for row in await self.database.run(LOOK)}
        return rows, bool(await self.queues.client.exists(*LANES))

    async def lanes(self) -> set[UUID]:
        """All task ids in all lanes in Redis."""
        lanes: Any = [await self.queues.client.lrange(lane, 0, -1) for lane in LANES]
        return {UUID(bytes=member) for lane in lanes for member in lane}

    async def age(self, seconds: float) -> None:
        await self.database.run(AGE, seconds=float(seconds))
        await self.database.run(AGE_CHECK, seconds=float(seconds))


class Witness:
    """Compares the ledger before and after a step, and checks that only what the step may change
    has changed.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.before: Rows = {}
        self.rows: Rows = {}
        self.in_lanes = False
        #: Ids of the workers that were declared dead.
        self.dead: set[UUID] = set()
        #: Claims, by task id and number, under which the end of the task has been recorded.
        self.ended: set[tuple[UUID, int]] = set()
        #: The worker that got each claim, by task id and the claim's number.
        self._owners: dict[tuple[UUID, int], UUID] = {}
        self._may_change: Collection[UUID] | None = None

    @property
    def content(self) -> bool:
        """Whether the changes of the last step were checked without a failure."""
        return self._may_change is None

    def step(self, work: Coroutine[Any, Any, T], may_change: Collection[UUID] = ()) -> T:
        """Check what the previous step changed, run this step to its end, and read the ledger
        again.
        """
        self.check()
        self.before, self._may_change = self.rows, may_change
        try:
            return self._ground.run(work)
        finally:
            self.rows, self.in_lanes = self._ground.run(self._ground.look())

    def where(self, condition: Callable[[dict[str, Any]], Any]) -> set[UUID]:
        return {task_id for task_id, row in self.rows.items() if condition(row)}

    def late(self, column: str, *, by_s: float = 0) -> set[UUID]:
        """Waiting tasks whose time in this column passed at least `by_s` seconds ago."""
        limit = datetime.now(UTC) - timedelta(seconds=by_s)
        waiting = self.where(lambda row: row["send_at"] or row["sent_at"])
        return {i for i in waiting if self.rows[i][column] and self.rows[i][column] <= limit}

    def owns(self, worker: UUID, task_id: UUID, claim: int) -> bool:
        """Whether the worker holds the task under this claim, so that it may write the
        task's row.
        """
        row = self.rows[task_id]
        return bool(row["holder"] == worker and row["claim"] == claim)

    def stranded(self, workers: Iterable[UUID]) -> set[UUID]:
        """Ids of tasks that no worker holds, although the ids are in the unacked sets of these
        workers.
        """

        async def unacked() -> set[UUID]:
            return {i for worker in workers for i in await self._ground.queues.unacked(worker)}

        return self._ground.run(unacked()) & self.where(lambda row: row["sent_at"] or row["send_at"])

    def remember_ends(self, worker: UUID) -> None:
        """Remember the claims that this worker gave up or ended in the last step."""
        for task_id, old in self.before.items():
            if old["holder"] == worker and self.rows[task_id]["holder"] is None:
                self.ended.add((task_id, old["claim"]))

    def check(self) -> None:
        """Check that the last step changed only what it may change."""
        if self._may_change is None:
            return
        for task_id, row in self.rows.items():
            self._check_row(row)
            if task_id in self.before:
                self._check_change(self.before[task_id], row, allowed=task_id in self._may_change)
        self._may_change = None

    def _check_row(self, row: dict[str, Any]) -> None:
        places = sum(row[place] is not None for place in PLACES)
        assert places == (0 if row["status"] in FINAL else 1)
        assert row["noted_as_failed"] == (row["status"] == "failure")
        if row["holder"] is not None:
            assert self._owners.setdefault((row["id"], row["claim"]), row["holder"]) == row["holder"]
        for numbers in (row["closed_claims"], row["closed_attempts"]):
            assert len(set(numbers)) == len(numbers)
        assert max(row["closed_claims"], default=0) <= row["claim"]
        assert row["effects"] == (row["name"] == EFFECT.name and row["status"] == "success")

    def _check_change(self, old: dict[str, Any], row: dict[str, Any], *, allowed: bool) -> None:
        if not allowed:
            assert not differences(old, row)
        assert row["claim"] >= old["claim"]
        if row["holder"] not in (None, old["holder"]):
            assert row["claim"] > old["claim"]
            assert row["holder"] not in self.dead
        # A log line must not be added to a claim that had ended before the step.
        late = Counter(row["logged_claims"]) - Counter(old["logged_claims"])
        assert min(late, default=old["claim"]) >= old["claim"]


def differences(old: dict[str, Any], row: dict[str, Any]) -> set[str]:
    """Names of the columns that differ.

    Log lines are left out, because they are compared separately.
    """
    return {name for name in row if row[name] != old[name]} - {"logged_claims"}


def verdicts() -> Counter[str]:
    """Number of records that the recorders in this process have written, skipped or refused so far,
    by verdict.
    """
    names = ("written", "already_mine", "refused")
    values = {n: REGISTRY.get_sample_value("often_recorder_rows_total", {"verdict": n}) for n in names}
    return Counter({name: int(value or 0) for name, value in values.items()})
