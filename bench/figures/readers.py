"""Measures how long submissions take while other clients search a database of ten million tasks."""

import asyncio
import logging
import time
from collections.abc import Sequence

import httpx

from bench import large_ledger, searching
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.searching import Target
from bench.stage import Stage

log = logging.getLogger(__name__)

#: Number of submissions that are measured, and seconds between two of them.
SAMPLES, EVERY_S = 400, 0.025

FIGURE = Figure(
    "submissions beside readers",
    f"p95 of POST /api/v1/tasks at {1 / EVERY_S:.0f} requests/s while {searching.READERS} readers search "
    f"{large_ledger.TASKS:,} tasks ÷ without them",
    required=1.2,
    lower_is_better=True,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "ms")
    async with large_ledger.serving(stage) as (platform, api):
        target = Target(f"{api.url}/api/v1/", {"Authorization": f"Bearer {await api.sign_up()}"})
        await platform.rows("UPDATE account SET role = 'administrator'")
        async with httpx.AsyncClient(
            base_url=target.url, headers=target.headers, trust_env=False, timeout=60
        ) as http:
            # Warm-up: connections open and Postgres plans the queries.
            await _p95_ms(http, stage.count(SAMPLES))
            for number in range(rounds):
                round_ = await _round(http, target, stage.count(SAMPLES), readers_first=number % 2 == 1)
                measured.rounds.append(round_)
    return [measured]


async def _round(http: httpx.AsyncClient, target: Target, samples: int, *, readers_first: bool) -> Round:
    alone = None if readers_first else await _p95_ms(http, samples)
    async with searching.readers(target) as answers:
        beside = await _p95_ms(http, samples)
    assert answers[0]
    alone = alone or await _p95_ms(http, samples)
    log.info("submissions: p95 %.1f ms beside %d searches, %.1f ms alone", beside, answers[0], alone)
    return Round(beside, alone)


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


BENCHMARK = Benchmark("readers", measure, rounds=5)
