"""Measures the cost of event streams: their memory, the delay from `progress()` to the client, and
their effect on the task rate.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import httpx
import psutil

from bench import ours
from bench.api import Api
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.stage import Stage
from bench.tasks import NOOP, TICK, Nothing, Ticks
from local.ports import pick
from services.api.identity.api_keys import PREFIX
from services.api.live.bus import MAX_OF_ACCOUNT
from tests.platform import Platform

log = logging.getLogger(__name__)

STREAMS = 2_000
#: Number of tasks that report progress at the same time, number of reports by each task, and
#: seconds between two reports of a task.
REPORTING, TICKS, TICK_S = 12, 40, 0.25
#: Number of event streams that are open while the task rate is measured, and number of no-op tasks
#: that are run with and without them.
LISTENERS, COUNT = 500, 40_000
#: Maximum number of streams that are being opened at the same time.
AT_ONCE = 50

MEMORY = Figure(
    "memory of event streams",
    f"growth of the API process with {STREAMS:,} open streams of distinct tasks, in MB ÷ 64",
    required=1.0,
    lower_is_better=True,
)
DELAY = Figure(
    "progress to client p95",
    f"from `progress()` to the client beside {STREAMS:,} open streams, in ms ÷ 100",
    required=1.0,
    lower_is_better=True,
)
RATE = Figure(
    "rate beside listeners",
    f"no-op tasks/s, two processes, {COUNT:,} queued first, with {LISTENERS} open streams and a scrape each "
    "second ÷ with an API to which nobody listens",
    required=0.95,
    by_interval=True,
)

#: SQL: inserts accounts with one API key each. Registering the accounts over HTTP would spend half
#: a minute on password hashes.
_ACCOUNTS = """
    WITH account AS (
        INSERT INTO account (email, password_hash)
        SELECT format('%s@often.example', n), '-' FROM generate_series(1, {}::int) AS n RETURNING id
    )
    INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at)
    SELECT id, 'bench', {}, ARRAY['tasks:read'], now() + interval '1 day' FROM account
    RETURNING id, "user" AS owner
"""


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    memory, delay, rate = Measured(MEMORY, "MB"), Measured(DELAY, "ms"), Measured(RATE, "tasks/s")
    for number in range(rounds):
        grown_mb, delays_ms = await _watched(stage)
        memory.rounds.append(Round(grown_mb, 64))
        delay.rounds.append(Round(percentile(delays_ms, 95), 100))
        log.info(
            "open streams took %.1f MB; delay of a report: p50 %.0f ms, p95 %.0f ms",
            grown_mb,
            *_percentiles(delays_ms),
        )
        sides = [LISTENERS, 0] if number % 2 == 0 else [0, LISTENERS]
        rates = {listeners: await _rate(stage, listeners) for listeners in sides}
        rate.rounds.append(Round(rates[LISTENERS], rates[0]))
        log.info("task rate: %.0f tasks/s with open streams, %.0f without", rates[LISTENERS], rates[0])
    return [memory, delay, rate]


def _percentiles(delays_ms: Sequence[float]) -> tuple[float, float]:
    return percentile(delays_ms, 50), percentile(delays_ms, 95)


async def _watched(stage: Stage) -> tuple[float, list[float]]:
    """Measure the memory in MB by which open streams grow the API process, and the delay of each
    progress report in ms.
    """
    async with ours.running(stage) as platform:
        api = Api(platform)
        await api.start()
        quiet = await platform.submit(NOOP, Nothing(), count=STREAMS - REPORTING, run_at=_tomorrow(platform))
        loud = await platform.submit(
            TICK, Ticks(count=TICKS, pause_s=TICK_S), count=REPORTING, run_at=_tomorrow(platform)
        )
        async with contextlib.AsyncExitStack() as opened:
            process = psutil.Process(api.pid)
            before = process.memory_info().rss
            streams = await opened.enter_async_context(_streams(platform, api, [*loud, *quiet]))
            grown_mb = (process.memory_info().rss - before) / 2**20
            reading = [asyncio.create_task(_delays(stream)) for stream in streams[:REPORTING]]
            await ours.workers_ready(platform)
            await platform.rows("UPDATE task SET send_at = now() WHERE id = ANY({}::uuid[])", loud)
            delays = await asyncio.gather(*reading)
        return grown_mb, [delay for each in delays for delay in each]


async def _rate(stage: Stage, listeners: int) -> float:
    ports = tuple(pick(*map(str, range(ours.WORKERS))).values())
    async with ours.running(stage) as platform:
        api = Api(platform)
        await api.start()
        waiting = await platform.submit(NOOP, Nothing(), count=max(listeners, 1), run_at=_tomorrow(platform))
        async with _streams(platform, api, waiting[:listeners]):
            scraping = asyncio.create_task(_scrape(ports if listeners else ()))
            try:
                return await _drained(platform, stage.count(COUNT), ports)
            finally:
                scraping.cancel()
                await asyncio.gather(scraping, return_exceptions=True)


async def _drained(platform: Platform, count: int, ports: Sequence[int]) -> float:
    """Measure the task rate like `ours.drain`, while tasks wait that are not due before tomorrow.

    Those tasks get another name first, so that `ours.drain` does not wait for their end.
    """
    await platform.rows("UPDATE task SET name = 'bench.watched'")
    return await ours.drain(platform, NOOP, Nothing(), count, ports=ports)


@contextlib.asynccontextmanager
async def _streams(
    platform: Platform, api: Api, tasks: Sequence[UUID]
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open an event stream for each of these tasks inside this context, and wait for the first
    event of each.
    """
    secret = secrets.token_urlsafe(32)
    accounts = len(tasks) // MAX_OF_ACCOUNT + 1
    keys = await platform.rows(_ACCOUNTS, accounts, hashlib.sha256(secret.encode()).digest())
    writers: list[asyncio.StreamWriter] = []
    places = asyncio.Semaphore(AT_ONCE)

    async def opened(number: int, task_id: UUID) -> asyncio.StreamReader:
        key = keys[number % accounts]
        await platform.rows("UPDATE task SET owner = {} WHERE id = {}", key["owner"], task_id)
        async with places:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
            writers.append(writer)
            token = f"{PREFIX}{key['id'].hex}_{secret}"
            writer.write(
                f"GET /api/v1/tasks/{task_id}/events HTTP/1.1\r\nHost: often\r\n"
                f"Authorization: Bearer {token}\r\n\r\n".encode()
            )
            await reader.readuntil(b"event: state")
        return reader

    began = time.monotonic()
    readers = await asyncio.gather(*(opened(number, task_id) for number, task_id in enumerate(tasks)))
    log.info("%d streams opened in %.1f s", len(tasks), time.monotonic() - began)
    try:
        yield list(readers)
    finally:
        for writer in writers:
            writer.transport.abort()


async def _delays(reader: asyncio.StreamReader) -> list[float]:
    """Read an event stream to its end. Returns the delay in ms from each progress report of the
    task to its arrival.
    """
    delays: list[float] = []
    async for line in reader:
        if line.startswith(b"event: end"):
            return delays
        if line.startswith(b"data: ") and (said := json.loads(line[6:]).get("progress_message")):
            delays.append((time.time() - float(said)) * 1000)
    return delays


async def _scrape(ports: Sequence[int]) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        while ports:
            for port in ports:
                with contextlib.suppress(httpx.TransportError):
                    await http.get(f"http://127.0.0.1:{port}/metrics")
            await asyncio.sleep(1)


def _tomorrow(platform: Platform) -> datetime:
    return platform.database.now() + timedelta(days=1)


BENCHMARK = Benchmark("listeners", measure)
