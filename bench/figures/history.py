"""Measures how much a task history that is 1,000 times longer slows down submissions, claims and
reads.

Both histories have the same number of days.
"""

import gc
import random
import statistics
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from bench import filler
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from services.api.identity.rights import Reach, Reader
from services.api.reads import Reads
from services.api.tasks.ledger_view import LedgerView
from shared.contracts import catalogue
from shared.contracts.system import HEALTH_CHECK, HealthCheck
from shared.identity.tables import Role
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.tables import TABLES
from shared.ledger.task_filter import TaskFilter
from shared.ledger.transitions.send import CLAIM
from shared.new_task import NewTask
from shared.submission import Submitter
from shared.transport.keys import lane_key, wake_key
from shared.transport.queues import Queues, connect
from shared.vault import Vault
from tests.installed import INSTALLED

MANY, FEW = 10_000_000, 10_000
DAYS = 30
#: Number of tasks per user. It is the same in the large and the small database, so that pages are
#: equally full and only the number of users differs.
TASKS_PER_OWNER = 100
#: Number of users who read repeatedly. It is the same in the large and the small database, so that
#: Postgres has to cache the same number of rows.
VIEWERS = 50
#: Number of samples per operation and database: in each round, and once before all rounds to warm
#: up.
SAMPLES, WARM_SAMPLES = 1_000, 300
#: One read in this many is by a user who has not read before in this run.
STRANGER_EVERY = 5
#: Number of task ids per claim, as a worker fetches them under moderate load.
CLAIMED = 16
PAGE = 50

OPERATIONS = {
    "submit": "Submitter.submit of one task",
    "claim": f"CLAIM of {CLAIMED} tasks",
    "status": "LedgerView.find and answer, one task of any day, for its owner",
    "list": f"LedgerView.page, the first {PAGE} of an owner's tasks",
    "list of all": f"LedgerView.page, the first {PAGE} of everybody's tasks, for an operator",
}
#: Figures of reads by users who have not read before in this run. They have no required ratio:
#: their rows do not fit into Postgres' memory, so a read may need the disk.
STRANGERS = {
    "status, stranger": "like status, by a user who reads for the first time",
    "list, stranger": "like list, by a user who reads for the first time",
}

#: SQL: selects all tasks of some users, in random order. $1: the ids of the users.
_OWNED = "SELECT id, owner FROM task WHERE owner = ANY($1) ORDER BY random()"
#: SQL: selects one task each of users that are not excluded, sampled from the whole table. $1:
#: percentage of the table's blocks to sample; $2: ids of excluded users; $3: number of rows.
_STRANGERS = """
    SELECT DISTINCT ON (owner) id, owner FROM task TABLESAMPLE SYSTEM ($1) WHERE owner <> ALL ($2) LIMIT $3
"""
_WORKER = Statement("""
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (:id, 'bench', 1, ARRAY['default'], 8, :lock_key)
""")


class Ledger:
    """The task database of one side of the comparison, with its operations, which are timed in
    milliseconds.
    """

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.url = database_url
        vault = Vault()
        self._database = Database.for_service(database_url, "bench")
        self._queues = Queues(connect(redis_url))
        self._submitter = Submitter(self._database, self._queues, vault)
        self._reads = Reads(database_url, self._database)
        self._view = LedgerView(self._database, self._reads, catalogue.load(INSTALLED), vault)
        self._task = NewTask(contract=HEALTH_CHECK, params=HealthCheck(), owner=1)
        self._worker = uuid4()
        #: Task ids with their owners: those that are read repeatedly, and those of users who have
        #: not read before.
        self._viewed: list[tuple[UUID, int]] = []
        self._strange: list[tuple[UUID, int]] = []
        self.times: dict[str, list[float]] = {}

    async def open(self, count: int, strangers: int) -> None:
        """Fill the database with tasks, and choose the tasks that are read later."""
        today = datetime.now(UTC).date()
        days = filler.days_before(today, first=0, count=DAYS)
        owners = count // TASKS_PER_OWNER
        await filler.fill(self.url, days, count, owners=owners, attempts=False)
        await self._database.open(size=1)
        await self._reads.open()
        self._bind()
        await self._database.run(_WORKER, id=self._worker, lock_key=self._worker.int >> 65)
        connection = await self._database.connect()
        viewers = random.sample(range(1, owners + 1), VIEWERS)
        share = min(100.0, 100 * 50 * strangers / count)
        try:
            viewed = await connection.fetch(_OWNED, viewers)
            strange = await connection.fetch(_STRANGERS, share, viewers, strangers)
        finally:
            await connection.close()
        self._viewed = [(UUID(int=row["id"].int), row["owner"]) for row in viewed]
        self._strange = [(UUID(int=row["id"].int), row["owner"]) for row in strange]

    async def close(self) -> None:
        queue = HEALTH_CHECK.queue
        await self._queues.client.delete(lane_key(queue, HEALTH_CHECK.priority), wake_key(queue))
        await self._queues.client.aclose()
        await self._reads.close()
        await self._database.close()

    def _bind(self) -> None:
        """Point Piccolo's tables to this side's database, because they can be bound to one database
        at a time only.
        """
        self._database.bind(TABLES)

    async def sample(self, number: int) -> None:
        """Time each operation once. Each call uses other rows."""
        self._bind()
        (first,) = await self._timed("submit", self._submitter.submit([self._task]))
        ids = [first, *await self._submitter.submit([self._task] * (CLAIMED - 1))]
        claimed = await self._timed("claim", self._database.run(CLAIM, worker=self._worker, id=sorted(ids)))
        assert len(claimed) == CLAIMED
        await self._look("", *self._viewed[number % len(self._viewed)])
        await self._timed("list of all", self._page(Reader(1, Role.OPERATOR, Reach.ALL)))
        if number % STRANGER_EVERY == 0:
            strangers = len(self._strange)
            await self._look(", stranger", *self._strange[number // STRANGER_EVERY % strangers])

    async def _look(self, who: str, task_id: UUID, owner: int) -> None:
        reader = Reader(owner, Role.USER, Reach.OWN)
        await self._timed(f"status{who}", self._status(task_id, reader))
        page = await self._timed(f"list{who}", self._page(reader))
        assert len(page.items) > PAGE // 2

    async def tidy(self) -> None:
        """Delete the tasks that the samples submitted, because the small database has to stay
        small.
        """
        self._bind()
        await self._submitter.mark()
        connection = await self._database.connect()
        try:
            await connection.execute("DELETE FROM task WHERE holder = $1", self._worker)
            today = partitions.partition_name("task", datetime.now(UTC).date())
            await connection.execute(f"VACUUM {today}")
        finally:
            await connection.close()

    async def _status(self, task_id: UUID, reader: Reader) -> object:
        return self._view.answer(await self._view.find(task_id, reader), reader)

    async def _page(self, reader: Reader) -> Any:
        return await self._view.page(reader, TaskFilter(), limit=PAGE, cursor=None)

    async def _timed(self, operation: str, work: Awaitable[Any]) -> Any:
        begun = time.perf_counter()
        answer = await work
        self.times.setdefault(operation, []).append(1_000 * (time.perf_counter() - begun))
        return answer


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure both sides. The side changes with each sample, so that other load on the machine
    affects both alike.
    """
    many, few = (Ledger(stage.platform().database_url, stage.redis_url) for _ in range(2))
    p50 = {operation: Measured(_figure(operation, 50, 1.1, 1.05), "ms") for operation in OPERATIONS}
    p99 = {operation: Measured(_figure(operation, 99, 1.5, 1.2), "ms") for operation in OPERATIONS}
    p50 |= {operation: Measured(_figure(operation, 50), "ms") for operation in STRANGERS}
    samples = stage.count(SAMPLES)
    async with AsyncExitStack() as closing:
        for ledger, count in ((many, stage.count(MANY)), (few, FEW)):
            closing.push_async_callback(ledger.close)
            await ledger.open(count, (WARM_SAMPLES + rounds * samples) // STRANGER_EVERY)
        await _play(many, few, range(WARM_SAMPLES))
        for number in range(rounds):
            start = WARM_SAMPLES + number * samples
            await _play(many, few, range(start, start + samples))
            for percent, figures in ((50, p50), (99, p99)):
                for operation, measured in figures.items():
                    ours, theirs = (_percentile(ledger.times[operation], percent) for ledger in (many, few))
                    measured.rounds.append(Round(ours, theirs))
    return [*p50.values(), *p99.values()]


async def _play(many: Ledger, few: Ledger, numbers: range) -> None:
    """Discard earlier times, and take a new sample of both sides for each of these numbers."""
    many.times, few.times = {}, {}
    gc.collect()
    for number in numbers:
        for ledger in (many, few) if number % 2 else (few, many):
            await ledger.sample(number)
    for ledger in (many, few):
        await ledger.tidy()


def _figure(
    operation: str, percent: int, required: float | None = None, target: float | None = None
) -> Figure:
    what = (OPERATIONS | STRANGERS)[operation]
    definition = f"p{percent} of {what}: {MANY:,} rows ÷ {FEW:,}, {DAYS} days in both"
    return Figure(f"history: {operation}, p{percent}", definition, required, target, lower_is_better=True)


def _percentile(times: list[float], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


BENCHMARK = Benchmark("history", measure)
