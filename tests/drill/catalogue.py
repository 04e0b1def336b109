"""Lists all faults of the drill by name, in the order of the report."""

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

#: Names of faults that the drill runs only on request. The first two are parts or milder forms of
#: other faults, and `random` uses them. The last one takes long: `make drill FAULTS=migrate_large
#: ROWS=20000000`.
EXTRAS = {"cut_sessions", "cut_redis_connections", "migrate_large"}


def faults(*, seed: int, seconds: float) -> dict[str, Fault]:
    """All faults by name. `seed` and `seconds` are for the fault `random`, which applies the others
    in random order.
    """
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
    # Faults without `parts` are never applied at random, because they change what the rest of the
    # drill needs, or take too long.
    chosen = [fault for fault in known if fault.parts]
    return {f.name: f for f in (*known, anything.at_random(chosen, seed=seed, seconds=seconds))}
