"""Measures how much slower tasks run in workflows (a chord, or chains) than as plain tasks on the
same workers.
"""

import asyncio
import logging
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence

from bench import crew, flows, ours
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from bench.tasks import NOOP, Nothing
from shared.ledger.ids import first_uuid7
from shared.ledger.statement import Statement
from shared.workflows import wiring
from tests.platform import Platform

log = logging.getLogger(__name__)

#: Number of tasks in a burst (the members of the chord, or the steps of all chains), and number of
#: steps per chain.
BURST, STEPS = 10_000, 10
#: Seconds between two checks whether a burst of tasks has ended.
ASK_EVERY_S = 0.05
LIMIT_S = 120

CHORD = Figure(
    "chord ÷ its tasks alone",
    f"time of a chord of {BURST:,} no-op tasks, from the first claim to the end of the body that has their "
    "results ÷ of the same tasks without a workflow, to the last end; two workers, all queued first",
    required=1.10,
    target=1.05,
    lower_is_better=True,
)
CHAINS = Figure(
    "chain steps ÷ no-op tasks",
    f"steps/s of {BURST // STEPS:,} chains of {STEPS} no-op steps ÷ tasks/s of {BURST:,} no-op tasks; two "
    "workers, all queued first",
    required=0.5,
    target=0.65,
)

OPEN = Statement("""
    SELECT EXISTS (SELECT FROM task WHERE send_at IS NOT NULL)
        OR EXISTS (SELECT FROM task WHERE sent_at IS NOT NULL)
        OR EXISTS (SELECT FROM task WHERE holder IS NOT NULL)
        OR EXISTS (SELECT FROM workflow WHERE completed_at IS NULL) AS any
""")

Submit = Callable[[Platform, int], Awaitable[object]]


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Run the three kinds of bursts alternately in the same worker processes, because two starts of
    workers differ by more than the measured effect.
    """
    chord, chains = Measured(CHORD, "s"), Measured(CHAINS, "tasks/s")
    size = stage.count(BURST)
    # With 0, no worker replaces itself after a number of tasks, so its process stays the same.
    endless = {"OFTEN_WORKER_MAX_TASKS": "0"}
    async with ours.running(stage) as platform:
        workers = await ours.workers_ready(platform, **endless, BENCH_TALLY=str(stage.folder))
        bursts: list[Submit] = [_alone, _chord, _chains]
        for submit in bursts:  # warm-up: connections open and Postgres plans the queries
            await _burst(platform, workers, submit, size // 10)
        for number in range(rounds):
            turn = bursts if number % 2 == 0 else bursts[::-1]
            taken = {submit: await _burst(platform, workers, submit, size) for submit in turn}
            chord.rounds.append(Round(taken[_chord], taken[_alone]))
            chains.rounds.append(Round(size / taken[_chains], size / taken[_alone]))
            log.info(
                "%d no-op tasks took %.2f s alone, %.2f s as a chord, %.2f s as chains",
                *(size, taken[_alone], taken[_chord], taken[_chains]),
            )
    return [chord, chains]


async def _alone(platform: Platform, size: int) -> None:
    await platform.submit(NOOP, Nothing(), count=size)


async def _chord(platform: Platform, size: int) -> None:
    await flows.submit(platform, flows.chord(size))


async def _chains(platform: Platform, size: int) -> None:
    await flows.submit(platform, wiring.compile(flows.chain(STEPS)), size // STEPS)


async def _burst(
    platform: Platform, workers: Sequence[subprocess.Popen[bytes]], submit: Submit, size: int
) -> float:
    """Run a burst of tasks, all queued before the workers continue. Returns the seconds from the
    first claim to the last end.
    """
    first = first_uuid7(await crew.now(platform))
    _signal(workers, signal.SIGSTOP)
    await submit(platform, size)
    _signal(workers, signal.SIGCONT)
    await _over(platform)
    succeeded, seconds = await crew.burst(platform, first)
    assert succeeded - size in (0, 1), f"{succeeded} of {size} tasks succeeded"
    return seconds


def _signal(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


async def _over(platform: Platform) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            (row,) = await platform.rows(OPEN)
            if not row["any"]:
                return
            await asyncio.sleep(ASK_EVERY_S)


BENCHMARK = Benchmark("workflow_rates", measure, rounds=15)
