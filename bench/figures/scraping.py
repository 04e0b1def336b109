"""Measures what it costs that Prometheus scrapes the processes.

The same processes are scraped for one second and left alone for the next. Differences between two
starts of processes, or between two moments of the machine, would be larger than the effect.
"""

import asyncio
import functools
import logging
from collections.abc import Sequence
from datetime import datetime

from bench import crew, ours, tally
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from bench.tasks import NOOP, Nothing
from local.ports import pick
from tests.eventually import eventually
from tests.platform import Platform

log = logging.getLogger(__name__)

#: Number of tasks of a run, which two workers share. It is low enough that no worker replaces
#: itself, which a worker does after 80,000 tasks at the earliest.
COUNT = 150_000
#: Maximum number of time windows with scraping, and of windows without, and length of a window in
#: seconds. Each worker is scraped once in a window with scraping.
WINDOWS, WINDOW_S = 30, 1.0
#: Number of tasks that are done before the first time window begins, and number of tasks that must
#: still wait after the last window.
WARM, LEFT = 5_000, 5_000
#: An HTTP request as Prometheus 3 sends it. It is sent over a plain socket, because the processor
#: time of an HTTP client would distort the measurement.
REQUEST = (
    b"GET /metrics HTTP/1.1\r\nHost: worker\r\nAccept-Encoding: gzip\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    b"application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    b"text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\n\r\n"
)

FIGURE = Figure(
    "scraping",
    f"no-op tasks/s, two processes, {COUNT:,} queued first, while all metrics are scraped each second "
    "÷ while nobody asks, in turn every second",
    required=0.97,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "tasks/s")
    for number in range(rounds):
        asked, left_alone = await _rates(stage, asked_first=number % 2 == 0)
        measured.rounds.append(Round(asked, left_alone))
        log.info("task rate: %.0f tasks/s while scraped, %.0f otherwise", asked, left_alone)
    return [measured]


async def _rates(stage: Stage, *, asked_first: bool) -> tuple[float, float]:
    scheduler, *workers = pick("scheduler", *map(str, range(ours.WORKERS))).values()
    count = stage.count(COUNT)
    async with ours.running(stage, port=scheduler) as platform:
        await ours.submit(platform, NOOP, Nothing(), count)
        ours.start_workers(platform, workers, **{tally.VARIABLE: str(stage.folder)})
        await eventually(functools.partial(_fewer_wait, platform, count - WARM), 60)
        windows: dict[bool, list[tuple[datetime, datetime]]] = {True: [], False: []}
        for window in range(2 * WINDOWS):
            if not await _fewer_wait(platform, LEFT):
                # The order of the windows with and without scraping (ABBA) makes a trend affect
                # both alike.
                asked = asked_first == (window % 4 in (0, 3))
                begin = await crew.now(platform)
                await _pass([scheduler, *workers] if asked else [])
                windows[asked].append((begin, await crew.now(platform)))
        pairs = min(map(len, windows.values()))
        assert pairs > 1, f"{count} tasks are too few for two windows per side"
        asked_rate, left_alone = [await _mean_rate(platform, windows[side][:pairs]) for side in (True, False)]
        log.info("measured %d windows with scraping, and as many without", pairs)
        return asked_rate, left_alone


async def _fewer_wait(platform: Platform, count: int) -> bool:
    _, lanes = await platform.queues.depths(NOOP.queue)
    return sum(lanes.values()) < count


async def _pass(ports: Sequence[int]) -> None:
    """Let one time window pass. The processes at these ports are scraped at its start."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WINDOW_S
    await asyncio.gather(*map(_ask, ports))
    await asyncio.sleep(end - loop.time())


async def _ask(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.0 200 "), answer[:200]


async def _mean_rate(platform: Platform, windows: Sequence[tuple[datetime, datetime]]) -> float:
    return sum([await crew.rate(platform, begin, end, NOOP) for begin, end in windows]) / len(windows)


BENCHMARK = Benchmark("scraping", measure, rounds=7)
