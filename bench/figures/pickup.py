"""Measures how long an idle worker takes to begin a task, compared with Celery's prefork pool."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Sequence

from bench import doorbell, ours
from bench.doorbell import Doorbell
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.peers import crowd, peer
from bench.stage import Stage
from bench.tasks import RING, Ring
from shared.keeper import Keeper
from shared.new_task import NewTask
from shared.submission import MARK_EVERY_S
from tests.platform import Platform

log = logging.getLogger(__name__)

SAMPLES = 1_000
#: Number of warm-up tasks, and range of the pause between two tasks in seconds.
#: `bench/peers/celery/pick_up.py` has the same values.
WARM_UP, PAUSES_S = 20, (0.005, 0.015)


def _figure(percent: int) -> Figure:
    return Figure(
        f"idle pick-up p{percent}",
        f"from the clock before submit to the body's first line, {SAMPLES:,} samples a round ÷ the same of "
        "Celery's prefork pool; two processes each",
        required=1.0,
        target=0.6,
        lower_is_better=True,
    )


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = {percent: Measured(_figure(percent), "ms") for percent in (50, 99)}
    sides = [_ours, _celerys]
    for number in range(rounds):
        seconds = {side: await side(stage) for side in (sides if number % 2 == 0 else reversed(sides))}
        for percent, line in measured.items():
            our_ms, their_ms = (percentile(seconds[side], percent) * 1000 for side in sides)
            line.rounds.append(Round(our_ms, their_ms))
            log.info(
                "p%d of the time to begin a task: %.2f ms, in Celery: %.2f ms", percent, our_ms, their_ms
            )
    return list(measured.values())


async def _ours(stage: Stage) -> list[float]:
    with Doorbell(stage.folder / "doorbell") as bell:
        async with ours.running(stage) as platform:
            await ours.workers_ready(platform, **{doorbell.VARIABLE: str(bell.path)})
            kept = Keeper().keep("marking", platform.submitter.mark, every_s=MARK_EVERY_S)
            marking = asyncio.create_task(kept)
            numbers = range(WARM_UP + stage.count(SAMPLES))
            seconds = [await _sample(platform, bell, number) for number in numbers]
            marking.cancel()
            return seconds[WARM_UP:]


async def _sample(platform: Platform, bell: Doorbell, token: int) -> float:
    await asyncio.sleep(random.uniform(*PAUSES_S))
    submitted = time.time()
    await platform.submitter.submit([NewTask(contract=RING, params=Ring(token=token))])
    heard, began = await bell.heard()
    assert heard == token
    return began - submitted


async def _celerys(stage: Stage) -> list[float]:
    await stage.settle()
    with peer.running(crowd.CELERY_PICK_UP, stage) as place:
        place.start_workers()
        seconds: list[float] = json.loads(place.run("pick_up", str(stage.count(SAMPLES))))
        return seconds


BENCHMARK = Benchmark("pickup", measure)
