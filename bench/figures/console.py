"""Measures how long pages of the console take in a database of ten million tasks, and how much
processor time open pages cost.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence

import httpx

from bench import large_ledger
from bench.api import Api
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.processor import Meter
from bench.stage import Stage
from tests.platform import Platform

SAMPLES = 40
#: The console pages that are measured: path and limit in milliseconds, by a name.
PAGES = {
    "a list": ("/console/tasks", 50),
    "a task": ("/console/tasks/{}", 50),
    "the overview": ("/console", 80),
}
#: Number of overview pages that stay open, seconds between two refreshes of each page, and seconds
#: for which Postgres' processor time is measured.
CONSOLES, REFRESH_S, OPEN_S = 20, 5.0, 30.0
#: HTTP headers with which an open page refreshes itself.
REFRESHED = {"X-Often-Part": "refresh"}

OPEN = Figure(
    f"console: {CONSOLES} open overviews",
    f"processor time of Postgres per second while {CONSOLES} overviews refresh every {REFRESH_S:g} s and "
    "follow the event stream, in s",
    required=0.02,
    lower_is_better=True,
)

_PASSWORD = "a horse, a battery"
_TASK = "SELECT id FROM task WHERE status = 'failure' ORDER BY id DESC LIMIT 1"


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    pages = {name: Measured(_figure(name, limit_ms), "ms") for name, (_, limit_ms) in PAGES.items()}
    opened = Measured(OPEN, "s")
    async with large_ledger.serving(stage) as (platform, api), _signed_in(platform, api) as http:
        (row,) = await platform.rows(_TASK)
        for _ in range(rounds):
            for name, (path, _) in PAGES.items():
                pages[name].rounds.append(Round(await _p95(http, path.format(row["id"])), 1))
            opened.rounds.append(Round(await _postgres_per_s(stage, http), 1))
    return [*pages.values(), opened]


def _figure(name: str, limit_ms: float) -> Figure:
    definition = f"p95 of one request among {large_ledger.TASKS:,} tasks, at the client, in ms"
    return Figure(f"console: {name}", definition, limit_ms, lower_is_better=True)


@contextlib.asynccontextmanager
async def _signed_in(platform: Platform, api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with the session cookie of an administrator who has signed in to
    the console.
    """
    person = {"email": f"{secrets.token_hex(8)}@often.example", "password": _PASSWORD}
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=30) as http:
        (await http.post("/api/v1/auth/register", json=person)).raise_for_status()
        await platform.rows("UPDATE account SET role = 'administrator' WHERE email = {}", person["email"])
        answer = await http.post("/console/login", data=person, headers={"Origin": api.url})
        assert answer.status_code == 303, answer.text
        yield http


async def _p95(http: httpx.AsyncClient, path: str) -> float:
    await http.get(path)
    times = []
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        answer = await http.get(path)
        times.append(1_000 * (time.perf_counter() - begun))
        assert answer.status_code == 200, answer.text
    return percentile(times, 95)


async def _postgres_per_s(stage: Stage, http: httpx.AsyncClient) -> float:
    """Open the consoles. Returns the processor seconds that Postgres uses per second while they are
    open.
    """
    meter = Meter({"Postgres": [stage.postgres]})
    async with asyncio.TaskGroup() as group:
        consoles = [group.create_task(_console(http, number)) for number in range(CONSOLES)]
        await asyncio.sleep(REFRESH_S)
        before = meter.read(0)
        await asyncio.sleep(OPEN_S)
        spent = meter.read(1).since(before).total / 1e6
        for console in consoles:
            console.cancel()
    return spent / OPEN_S


async def _console(http: httpx.AsyncClient, number: int) -> None:
    """Keep one overview page open and refresh it regularly.

    `number` is the index of the page; it delays the first refresh, so that the refreshes of all
    pages are spread evenly.
    """
    async with http.stream("GET", "/console/stream") as stream:
        assert stream.status_code == 200
        await asyncio.sleep(REFRESH_S * number / CONSOLES)
        while True:
            answer = await http.get("/console", headers=REFRESHED)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(REFRESH_S)


BENCHMARK = Benchmark("console", measure, rounds=3)
