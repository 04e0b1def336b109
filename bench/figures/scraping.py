"""What it costs to be asked by Prometheus."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

import httpx

from bench import ours
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from bench.tasks import NOOP, Nothing
from local.ports import pick

log = logging.getLogger(__name__)

COUNT = 40_000
EVERY_S = 1.0
#: As Prometheus asks.
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5",
    "Accept-Encoding": "gzip",
}

FIGURE = Figure(
    "scraping",
    f"no-op tasks/s, two processes, {COUNT:,} queued first, while all metrics are scraped each second "
    "÷ while nobody asks",
    required=0.97,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "tasks/s")
    for number in range(rounds):
        order = (True, False) if number % 2 == 0 else (False, True)
        rates = {asked: await _rate(stage, asked=asked) for asked in order}
        measured.rounds.append(Round(rates[True], rates[False]))
        log.info("scraped: %.0f tasks/s, not: %.0f tasks/s", rates[True], rates[False])
    return [measured]


async def _rate(stage: Stage, *, asked: bool) -> float:
    scheduler, *workers = pick("scheduler", *map(str, range(ours.WORKERS))).values()
    async with ours.running(stage, port=scheduler) as platform:
        if not asked:
            return await ours.drain(platform, NOOP, Nothing(), stage.count(COUNT), ports=workers)
        async with _scraping([scheduler, *workers]) as answered:
            rate = await ours.drain(platform, NOOP, Nothing(), stage.count(COUNT), ports=workers)
        assert all(answered.values()), f"not all were scraped: {answered}"
        return rate


@contextlib.asynccontextmanager
async def _scraping(ports: Sequence[int]) -> AsyncIterator[dict[int, int]]:
    """Ask until the end; yields how often each has answered."""
    answered = dict.fromkeys(ports, 0)
    async with httpx.AsyncClient(trust_env=False, headers=HEADERS) as http:

        async def keep_asking(port: int) -> None:
            while True:
                with contextlib.suppress(httpx.TransportError):  # it is about to start
                    answer = await http.get(f"http://127.0.0.1:{port}/metrics")
                    answered[port] += answer.is_success
                await asyncio.sleep(EVERY_S)

        tasks = [asyncio.create_task(keep_asking(port)) for port in ports]
        try:
            yield answered
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


BENCHMARK = Benchmark("scraping", measure)
