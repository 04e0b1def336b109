"""Measures how long submissions take while other clients search a database of ten million tasks."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence

import httpx

from bench import large_ledger
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.stage import Stage

log = logging.getLogger(__name__)

READERS = 12
#: Number of submissions that are measured, and seconds between two of them.
SAMPLES, EVERY_S = 400, 0.025
#: Queries of searches that no index answers. Each search runs until its time limit.
SEARCHES = (
    "tasks?params.template=none",
    "tasks?status=failure&params.to=nobody@often.example",
    "tasks?queue=email&params.user_id=-1",
)

FIGURE = Figure(
    "submissions beside readers",
    f"p95 of POST /api/v1/tasks at {1 / EVERY_S:.0f} requests/s while {READERS} readers search "
    f"{large_ledger.TASKS:,} tasks ÷ without them",
    required=1.2,
    lower_is_better=True,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "ms")
    async with large_ledger.serving(stage) as (platform, api):
        headers = {"Authorization": f"Bearer {await api.sign_up()}"}
        await platform.rows("UPDATE account SET role = 'administrator'")
        async with httpx.AsyncClient(
            base_url=f"{api.url}/api/v1/", headers=headers, trust_env=False, timeout=60
        ) as http:
            # Warm-up: connections open and Postgres plans the queries.
            await _p95_ms(http, stage.count(SAMPLES))
            for number in range(rounds):
                measured.rounds.append(await _round(http, stage, readers_first=number % 2 == 1))
    return [measured]


async def _round(http: httpx.AsyncClient, stage: Stage, *, readers_first: bool) -> Round:
    samples = stage.count(SAMPLES)
    alone = None if readers_first else await _p95_ms(http, samples)
    async with _reading(http) as answered:
        beside = await _p95_ms(http, samples)
    alone = alone or await _p95_ms(http, samples)
    log.info("submissions: p95 %.1f ms beside %d searches, %.1f ms alone", beside, len(answered), alone)
    return Round(beside, alone)


@contextlib.asynccontextmanager
async def _reading(http: httpx.AsyncClient) -> AsyncIterator[list[int]]:
    """Let all readers search inside this context. Yields a list to which the HTTP status of each
    answer is added.
    """
    answered: list[int] = []
    stopping = asyncio.Event()

    async def read(number: int) -> None:
        while not stopping.is_set():
            answer = await http.get(SEARCHES[number % len(SEARCHES)])
            assert answer.status_code in {200, 504}, answer.text
            answered.append(answer.status_code)

    async with asyncio.TaskGroup() as group:
        for number in range(READERS):
            group.create_task(read(number))
        await asyncio.sleep(1)
        try:
            yield answered
        finally:
            stopping.set()
    assert answered


async def _p95_ms(http: httpx.AsyncClient, samples: int) -> float:
    """Submit tasks at a steady pace, without waiting for earlier answers. Returns the p95 of their
    durations in ms.
    """
    times: list[float] = []

    async def submit() -> None:
        begun = time.perf_counter()
        answer = await http.post("tasks", json={"name": "system.health_check", "params": {}})
        times.append(1_000 * (time.perf_counter() - begun))
        assert answer.status_code == 202, answer.text

    async with asyncio.TaskGroup() as group:
        for _ in range(samples):
            group.create_task(submit())
            await asyncio.sleep(EVERY_S)
    return percentile(times, 95)


BENCHMARK = Benchmark("readers", measure, rounds=3)
