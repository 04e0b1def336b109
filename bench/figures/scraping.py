"""What it costs to be asked by Prometheus.

The same processes are asked for a second and left alone for one, in turn: what one start or one moment of
the machine has ahead of another would be more than what is looked for.
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

#: Workers replace themselves after 80,000 tasks at the earliest.
COUNT = 150_000
#: Both sides have at most so many. In its own a side is asked once.
WINDOWS, WINDOW_S = 30, 1.0
#: What is done before the first window begins, and what must be left after the last.
WARM, LEFT = 5_000, 5_000
#: As Prometheus 3 asks. By hand, since what a client of ours costs would be measured too.
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
        log.info("scraped: %.0f tasks/s, not: %.0f tasks/s", asked, left_alone)
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
                asked = asked_first == (window % 4 in (0, 3))  # a trend takes as much from both
                begin = await crew.now(platform)
                await _pass([scheduler, *workers] if asked else [])
                windows[asked].append((begin, await crew.now(platform)))
        pairs = min(map(len, windows.values()))
        assert pairs > 1, f"{count} tasks do not last"
        asked_rate, left_alone = [await _mean_rate(platform, windows[side][:pairs]) for side in (True, False)]
        log.info("%d windows of both sides", pairs)
        return asked_rate, left_alone


async def _fewer_wait(platform: Platform, count: int) -> bool:
    _, lanes = await platform.queues.depths(NOOP.queue)
    return sum(lanes.values()) < count


async def _pass(ports: Sequence[int]) -> None:
    """Let a window go by, and ask these in it."""
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
