"""Measures how long urgent tasks wait: tasks with a high priority behind a backlog, and short tasks
beside long ones.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence

from bench import doorbell, ours, tally
from bench.doorbell import Doorbell
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.stage import Stage
from bench.tasks import RING, SHORT, SHORT_S, Nothing, Ring
from shared.new_task import NewTask
from shared.settings import Settings
from tests.platform import Platform

log = logging.getLogger(__name__)

BACKLOG = 10_000
#: Number of tasks whose wait is measured: behind the backlog, and beside the long tasks.
BEHIND_SAMPLES, BESIDE_SAMPLES = 200, 300
#: Seconds between the submissions of two tasks whose waits are measured.
EVERY_S = 0.02
#: Number of the long tasks, and duration of each in seconds. They occupy half of all worker threads
#: until the last wait is measured.
LONG_COUNT, LONG_S = ours.WORKERS * Settings().worker_threads // 2, 10.0

PRIORITY = Figure(
    "priority 9 behind a backlog",
    f"p95 of the wait in ms, clock at submit, of tasks of priority 9 behind {BACKLOG:,} of priority 1, "
    "10 ms each",
    required=60,
    target=30,
    lower_is_better=True,
)
BESIDE = Figure(
    "short beside long",
    f"p95 of a short task's wait while half of the threads run tasks of {LONG_S:.0f} s ÷ without them",
    required=1.5,
    target=1.1,
    lower_is_better=True,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    priority, beside = Measured(PRIORITY, "ms"), Measured(BESIDE, "ms")
    for number in range(rounds):
        priority.rounds.append(Round(await _behind_backlog(stage), 1))
        log.info("p95 wait of tasks of priority 9 behind a backlog: %.1f ms", priority.rounds[-1].ours)
        beside.rounds.append(await _beside_long(stage, long_first=number % 2 == 1))
        log.info(
            "p95 wait of short tasks: %.1f ms beside long ones, %.1f ms without",
            beside.rounds[-1].ours,
            beside.rounds[-1].theirs,
        )
    return [priority, beside]


async def _behind_backlog(stage: Stage) -> float:
    with (
        Doorbell(stage.folder / "doorbell") as bell,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        async with ours.running(stage) as platform:
            bells = {doorbell.VARIABLE: str(bell.path), tally.VARIABLE: folder}
            await ours.workers_ready(platform, **bells)
            await ours.submit(platform, SHORT, Nothing(), stage.count(BACKLOG), priority=1)
            wait_ms = await _p95_ms(platform, bell, stage.count(BEHIND_SAMPLES), priority=9)
            assert await ours.any_left(platform, SHORT), (
                "the backlog was gone before the last sample was taken"
            )
            return wait_ms


async def _beside_long(stage: Stage, *, long_first: bool) -> Round:
    samples = stage.count(BESIDE_SAMPLES)
    with Doorbell(stage.folder / "doorbell") as bell:
        async with ours.running(stage) as platform:
            await ours.workers_ready(platform, **{doorbell.VARIABLE: str(bell.path)})
            # Warm-up: connections open and Postgres plans the queries.
            await _p95_ms(platform, bell, samples // 4)
            alone = None if long_first else await _p95_ms(platform, bell, samples)
            await platform.submit(RING, Ring(token=-1, seconds=LONG_S), count=LONG_COUNT)
            for _ in range(LONG_COUNT):
                await bell.heard()
            beside = await _p95_ms(platform, bell, samples)
            assert await ours.any_left(platform, RING), (
                "the long tasks were over before the last sample was taken"
            )
            await ours.finished(platform, RING)
            return Round(beside, alone or await _p95_ms(platform, bell, samples))


async def _p95_ms(platform: Platform, bell: Doorbell, samples: int, priority: int | None = None) -> float:
    """Submit short tasks at a steady pace. Returns the p95 in ms of their waits, from the
    submission to the first line of the body.
    """
    submitted: dict[int, float] = {}

    async def submit(token: int) -> None:
        submitted[token] = time.time()
        params = Ring(token=token, seconds=SHORT_S)
        await platform.submitter.submit([NewTask(contract=RING, params=params, priority=priority)])

    waits = []
    async with asyncio.TaskGroup() as group:

        async def submit_all() -> None:
            for token in range(samples):
                group.create_task(submit(token))
                await asyncio.sleep(EVERY_S)
            await platform.submitter.mark()

        group.create_task(submit_all())
        for _ in range(samples):
            token, began = await bell.heard()
            waits.append((began - submitted[token]) * 1000)
    return percentile(waits, 95)


BENCHMARK = Benchmark("waiting", measure)
