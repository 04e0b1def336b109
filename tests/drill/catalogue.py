"""Every fault by its name, in the order of the report."""

from tests.drill.fault import Fault
from tests.drill.faults import (
    anything,
    connections,
    failover,
    failovers,
    locks,
    migration,
    postgres,
    processes,
    redis,
    refusals,
    restore,
    workflows,
)

#: These run when they are named. The first two are part of others or milder than others, and take part in
#: `random`; the last one takes long: `make drill FAULTS=migrate_large ROWS=20000000`.
EXTRAS = {"cut_sessions", "cut_redis_connections", "migrate_large"}


def faults(*, seed: int, seconds: float) -> dict[str, Fault]:
    """`seed` and `seconds` are of the one that inflicts the others at random."""
    known = (
        *processes.FAULTS,
        *redis.FAULTS,
        *failovers.FAULTS,
        *failover.FAULTS,
        *restore.FAULTS,
        *connections.FAULTS,
        *postgres.FAULTS,
        *refusals.FAULTS,
        *locks.FAULTS,
        *migration.FAULTS,
        *workflows.FAULTS,
    )
    # One without parts changes what the rest of a scenario needs, or takes most of its time.
    chosen = [fault for fault in known if fault.parts]
    return {f.name: f for f in (*known, anything.at_random(chosen, seed=seed, seconds=seconds))}
