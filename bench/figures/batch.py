"""Measures one HTTP request that submits many tasks, compared with Dramatiq enqueuing as many
messages one by one.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence

from bench.api import Api
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from often_client import Client
from tests.platform import ROOT

TASKS = 10_000

FIGURE = Figure(
    "batch of 10,000 over HTTP",
    f"tasks/s of one POST /api/v1/tasks/batch with {TASKS:,} tasks, from the client's call to its ids "
    "÷ messages/s of Dramatiq's actor.send() in a loop, Redis broker",
    required=6,
    target=8,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure with the published Python client, so the time includes encoding, an Idempotency-Key
    and decoding the ids.
    """
    measured = Measured(FIGURE, "tasks/s")
    async with stage.platform() as platform:
        api = Api(platform)
        await api.start()
        with Client(api.url, await api.sign_up()) as client:
            await asyncio.to_thread(_submit, client)
            for _ in range(rounds):
                ours_s = await asyncio.to_thread(_submit, client)
                measured.rounds.append(Round(TASKS / ours_s, TASKS / await _enqueue(stage.peers_redis_url)))
    return [measured]


def _submit(client: Client) -> float:
    """Submit all tasks in one HTTP request. Returns the seconds it took."""
    begun = time.monotonic()
    ids = client.submit_batch([{"name": "system.health_check", "params": {}} for _ in range(TASKS)])
    ended = time.monotonic()
    assert len(set(ids)) == TASKS
    return ended - begun


async def _enqueue(redis_url: str) -> float:
    """Enqueue as many messages with Dramatiq. Returns the seconds, measured inside the process that
    does it.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.dramatiq_enqueue", str(TASKS)),
        cwd=ROOT,
        env={**os.environ, "REDIS_URL": redis_url},
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return float(answer)


BENCHMARK = Benchmark("batch", measure, rounds=9)
