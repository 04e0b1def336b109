"""Every fault by its name, in the order of the report."""

from tests.drill.fault import Fault
from tests.drill.faults import anything, connections, failovers, locks, postgres, processes, redis, refusals

#: Each of these is part of others or milder than others. They take part in `random` only, unless named.
EXTRAS = {"cut_sessions", "cut_redis_connections"}


def faults(*, seed: int, seconds: float) -> dict[str, Fault]:
    """`seed` and `seconds` are of the one that inflicts the others at random."""
    known = (
        *processes.FAULTS,
        *redis.FAULTS,
        *failovers.FAULTS,
        *connections.FAULTS,
        *postgres.FAULTS,
        *refusals.FAULTS,
        *locks.FAULTS,
    )
    # One without parts changes what the rest of a scenario needs, or takes most of its time.
    chosen = [fault for fault in known if fault.parts]
    return {f.name: f for f in (*known, anything.at_random(chosen, seed=seed, seconds=seconds))}
