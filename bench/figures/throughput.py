"""Measures how fast a queue of no-op tasks is processed, compared with other task systems in the
same run.
"""

import logging
from collections.abc import Sequence

from bench import ours
from bench.figure import Benchmark, Figure, Measured, Round
from bench.peers import crowd, peer
from bench.peers.peer import Peer
from bench.stage import Stage
from bench.tasks import NOOP, Nothing

log = logging.getLogger(__name__)

COUNT = 20_000
#: The required ratio and the target ratio of this project's task rate to that of each other task
#: system; None where there is no such goal.
PEERS: dict[Peer, tuple[float | None, float | None]] = {
    crowd.DRAMATIQ: (1.6, 2.2),
    crowd.DRAMATIQ_TUNED: (None, 2.0),
    crowd.DRAMATIQ_BARE: (None, None),
    crowd.CELERY_SOLO: (None, 6.0),
    crowd.CELERY_PREFORK: (None, None),
    crowd.CELERY_DATABASE: (None, 40.0),
    crowd.OLD_DESIGN: (None, 100.0),
    crowd.TASKIQ: (None, None),
    crowd.PROCRASTINATE: (None, None),
}
REQUIRED = [other for other, (required, _) in PEERS.items() if required is not None]


def _figure(other: Peer, required: float | None, target: float | None) -> Figure:
    return Figure(
        f"throughput ÷ {other.name}",
        f"no-op tasks/s, two processes each, all queued first ({COUNT:,}; there {other.count:,}), "
        "from the first start to the last row final",
        required,
        target,
    )


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure in rounds of two kinds, which alternate: all other task systems, and only those with
    a required ratio.

    A system's rate varies by half within a run. Every other round of each kind runs in reverse
    order. In both orders, the systems with a required ratio run directly before or after this
    project.
    """
    measured = {p: Measured(_figure(p, *aims), "tasks/s") for p, aims in PEERS.items()}
    for number in range(2 * rounds - 1):
        peers = list(PEERS) if number % 2 == 0 else REQUIRED
        sides: list[Peer | None] = [None, *peers]
        rates = {side: await _rate(side, stage) for side in (sides if number % 4 < 2 else reversed(sides))}
        for other in peers:
            measured[other].rounds.append(Round(rates[None], rates[other]))
    return list(measured.values())


async def _rate(side: Peer | None, stage: Stage) -> float:
    """The task rate of another task system, or of this project if `side` is None."""
    if side is None:
        async with ours.running(stage) as platform:
            rate = await ours.drain(platform, NOOP, Nothing(), stage.count(COUNT))
    else:
        rate = await peer.drain(side, stage)
    log.info("rate of %s: %.0f tasks/s", side.name if side else "this project", rate)
    return rate


BENCHMARK = Benchmark("throughput", measure)
