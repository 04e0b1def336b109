"""Measures how long lists, searches and statistics take in a database of ten million tasks, for
filters that match many tasks or none.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import large_ledger
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from services.api.identity.rights import Reach, Reader
from services.api.reads import Reads
from services.api.tasks import params_filter
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.statistics import StatisticsView
from shared.contracts import catalogue
from shared.identity.tables import Role
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.tables import TABLES
from shared.ledger.task_filter import TaskFilter
from shared.roles import API
from shared.vault import Vault
from tests.installed import INSTALLED
from tests.roles import as_role

SAMPLES, PAGE = 10, 50
#: Required maximum duration of a request in milliseconds: of requests that an index answers, and of
#: all other requests.
QUICK_MS, ANY_MS = 50, 500

Ask = Callable[[], Awaitable[Any]]


class Answers:
    """A database filled with tasks, and the requests that are measured on it."""

    def __init__(self, database_url: str) -> None:
        api = as_role(database_url, API)
        self._database = Database.for_service(api, "bench")
        self._reads = Reads(api, self._database)
        self._ledger = LedgerView(self._database, self._reads, catalogue.load(INSTALLED), Vault())
        self._statistics = StatisticsView(self._reads, self._ledger)
        self._staff = Reader(1, Role.OPERATOR, Reach.ALL)

    async def open(self) -> None:
        await self._database.open(size=2)
        await self._reads.open()
        self._database.bind(TABLES)

    async def close(self) -> None:
        await self._reads.close()
        await self._database.close()

    def quick(self) -> dict[str, Ask]:
        """Requests that the console sends for each of its pages. An index has to answer them."""
        user = Reader(17, Role.USER, Reach.OWN)
        return {
            "all tasks": lambda: self._page(),
            "a user's tasks": lambda: self._page(user),
            "a user's summary": lambda: self._statistics.summary(user),
        }

    def filters(self) -> dict[str, TaskFilter]:
        """Filters for searches that match many tasks, few tasks, or none."""
        day = datetime.now(UTC) - timedelta(days=1)
        return {
            "failures": TaskFilter(status=[Status.FAILURE]),
            "failures of a kind without any": TaskFilter(status=[Status.FAILURE], name=["reports.never"]),
            "failures of one cause": TaskFilter(status=[Status.FAILURE], fingerprint="f7"),
            "failures with another text": TaskFilter(status=[Status.FAILURE], error="no such text"),
            "a rare kind": TaskFilter(name=["reports.build"]),
            "a kind that never ran": TaskFilter(name=["reports.never"]),
            "two kinds": TaskFilter(name=["email.kind_1", "email.kind_2"]),
            "a queue without tasks": TaskFilter(queue=["never"]),
            "canceled tasks, of which there are none": TaskFilter(status=[Status.REVOKED]),
            "running tasks, of which there are none": TaskFilter(status=[Status.STARTED]),
            "a parameter": TaskFilter(params=params_filter.read([("params.user_id", "4711")])),
            "a parameter without tasks": TaskFilter(params=params_filter.read([("params.user_id", "-1")])),
            "an error text": TaskFilter(error="said 5"),
            "an error text without tasks": TaskFilter(error="no such text"),
            "a schedule without tasks": TaskFilter(schedule="never"),
            "ended in the last day": TaskFilter(completed_after=day),
            "failed or canceled, of a rare kind": TaskFilter(
                status=[Status.FAILURE, Status.REVOKED], name=["reports.build"]
            ),
        }

    def statistics(self) -> dict[str, Ask]:
        return {
            "summary": lambda: self._statistics.summary(self._staff),
            "series, a day": lambda: self._statistics.series(24, None, None),
            "series, a month": lambda: self._statistics.series(24 * 30, None, None),
            "kinds, a day": lambda: self._statistics.kinds(24),
            "kinds, a month": lambda: self._statistics.kinds(24 * 30),
            "waits": lambda: self._statistics.waits(1),
        }

    async def search(self, wanted: TaskFilter) -> tuple[list[float], int]:
        """Repeat a search with its page cursor until it has found a page of tasks or has searched
        everything.

        Returns the milliseconds of each request, and the number of requests.
        """
        times: list[float] = []
        cursor: str | None = None
        while True:
            begun = time.perf_counter()
            page = await self._page(wanted=wanted, cursor=cursor)
            times.append(1_000 * (time.perf_counter() - begun))
            cursor = page.next_cursor
            if cursor is None or page.complete:
                return times, len(times)

    async def _page(
        self, reader: Reader | None = None, wanted: TaskFilter | None = None, cursor: str | None = None
    ) -> Any:
        asked = wanted or TaskFilter()
        return await self._ledger.page(reader or self._staff, asked, limit=PAGE, cursor=cursor)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Send each request once to warm up, and then `SAMPLES` times in each round."""
    database_url = await large_ledger.filled(stage)
    answers = Answers(database_url)
    try:
        await answers.open()
        lines = [await _asked(name, ask, QUICK_MS, rounds) for name, ask in answers.quick().items()]
        lines += [await _asked(name, ask, ANY_MS, rounds) for name, ask in answers.statistics().items()]
        for name, wanted in answers.filters().items():
            lines += await _searched(answers, name, wanted, rounds)
        return lines
    finally:
        await answers.close()
        await stage.drop_database(database_url)


async def _asked(name: str, ask: Ask, required_ms: float, rounds: int) -> Measured:
    await ask()
    measured = Measured(_figure(name, required_ms), "ms")
    for _ in range(rounds):
        times = []
        for _ in range(SAMPLES):
            begun = time.perf_counter()
            await ask()
            times.append(1_000 * (time.perf_counter() - begun))
        measured.rounds.append(Round(_p95(times), 1))
    return measured


async def _searched(answers: Answers, name: str, wanted: TaskFilter, rounds: int) -> list[Measured]:
    slowest = Measured(_figure(name, ANY_MS), "ms")
    requests = Measured(Figure(f"answers: {name}, requests", "requests until the page is full"), "requests")
    await answers.search(wanted)
    for _ in range(rounds):
        times: list[float] = []
        for _ in range(SAMPLES):
            pages, number = await answers.search(wanted)
            times += pages
            if len(times) > SAMPLES:
                break
        slowest.rounds.append(Round(_p95(times), 1))
        requests.rounds.append(Round(number, 1))
    return [slowest, requests] if any(each.ours > 1 for each in requests.rounds) else [slowest]


def _figure(name: str, required_ms: float) -> Figure:
    definition = f"p95 of one request among {large_ledger.TASKS:,} tasks of {large_ledger.DAYS} days, in ms"
    return Figure(f"answers: {name}", definition, required_ms, lower_is_better=True)


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


BENCHMARK = Benchmark("answers", measure, rounds=3)
