"""Measures the memory that a queued task takes in Redis, and the memory that idle workers take."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import psutil
import redis.asyncio as redis

from bench import ours, tally
from bench.figure import Benchmark, Figure, Measured, Round
from bench.peers import crowd, peer
from bench.stage import Stage
from bench.tasks import NOOP, Nothing

log = logging.getLogger(__name__)

QUEUED = 20_000
#: Number of tasks that workers run before their memory is read, and seconds that they are idle in
#: between.
WARM_UP, REST_S = 500, 3.0

BYTES = Figure(
    "Redis bytes per queued task",
    f"MEMORY USAGE of all keys with {QUEUED:,} tasks queued ÷ the same of Dramatiq's Redis broker",
    required=0.1,
    target=0.05,
    lower_is_better=True,
)
IDLE = Figure(
    "idle worker memory",
    f"PSS, as if nothing else ran, of two worker processes {REST_S:.0f} s after {WARM_UP} tasks ÷ of all "
    "processes of Celery's prefork pool of two",
    required=0.8,
    target=0.6,
    lower_is_better=True,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    queued, idle = Measured(BYTES, "bytes"), Measured(IDLE, "MB")
    for number in range(rounds):
        sides = [_our_bytes, _their_bytes, _our_memory, _their_memory]
        values = {side: await side(stage) for side in (sides if number % 2 == 0 else reversed(sides))}
        queued.rounds.append(Round(values[_our_bytes], values[_their_bytes]))
        idle.rounds.append(Round(values[_our_memory], values[_their_memory]))
        log.info(
            "Redis bytes per queued task: %.1f, in Dramatiq: %.1f", values[_our_bytes], values[_their_bytes]
        )
        log.info(
            "memory of idle workers: %.1f MB, in Celery: %.1f MB", values[_our_memory], values[_their_memory]
        )
    return [queued, idle]


async def _our_bytes(stage: Stage) -> float:
    count = stage.count(QUEUED)
    async with ours.running(stage) as platform:
        await ours.submit(platform, NOOP, Nothing(), count)
        return await _bytes_held(stage.redis_url) / count


async def _their_bytes(stage: Stage) -> float:
    await stage.settle()
    count = stage.count(QUEUED)
    with peer.running(crowd.DRAMATIQ, stage) as place:
        place.enqueue(count)
        return await _bytes_held(stage.peers_redis_url) / count


async def _bytes_held(redis_url: str) -> int:
    async with redis.Redis.from_url(redis_url) as client:
        sizes = [await client.memory_usage(key, samples=0) async for key in client.scan_iter(count=1_000)]
        return sum(size or 0 for size in sizes)


async def _our_memory(stage: Stage) -> float:
    async with ours.running(stage) as platform:
        await ours.drain(platform, NOOP, Nothing(), WARM_UP)
        workers = platform.processes[-ours.WORKERS :]
        return await _rested([psutil.Process(worker.pid) for worker in workers])


async def _their_memory(stage: Stage) -> float:
    await stage.settle()
    with peer.running(crowd.CELERY_PREFORK, stage) as place:
        place.enqueue(WARM_UP)
        place.start_workers()
        await tally.reaches(place.folder, WARM_UP, place.programs.check)
        return await _rested(place.programs.family())


async def _rested(processes: Sequence[psutil.Process]) -> float:
    """Memory of the processes in MB, after `REST_S` idle seconds."""
    await asyncio.sleep(REST_S)
    return pss_alone([process.memory_maps() for process in processes]) / 2**20


def pss_alone(processes: Sequence[Sequence[Any]]) -> int:
    """Proportional set size (PSS) of the processes, computed as if no other process ran on the
    machine.

    Memory of a library is divided among these processes only. In the kernel's own PSS it is also
    divided among the other processes of this project that run during the measurement, which would
    make this project look smaller than Celery.
    """
    shared_files: dict[str, int] = defaultdict(int)
    total = 0
    for mappings in processes:
        for mapping in mappings:
            if mapping.path.startswith("/"):
                total += mapping.private_clean + mapping.private_dirty
                shared = mapping.shared_clean + mapping.shared_dirty
                shared_files[mapping.path] = max(shared_files[mapping.path], shared)
            else:
                total += mapping.pss
    return total + sum(shared_files.values())


BENCHMARK = Benchmark("memory", measure)
