"""Every fault by its name, in the order of the report."""

from tests.drill.fault import Fault
from tests.drill.faults import anything, locks, migration, postgres, processes, redis, refusals

#: These change what the rest of a scenario needs, or take most of its time.
NOT_AT_RANDOM = {"nothing", "drop_replies", "roll_over", "disk_full", "serializable", "table_lock_long"}
#: These run when they are named: `make drill FAULTS=migrate_large ROWS=20000000`.
EXTRAS = {"migrate_large"}


def faults(*, seed: int, seconds: float) -> dict[str, Fault]:
    """`seed` and `seconds` are of the one that inflicts the others at random."""
    known = (
        *processes.FAULTS,
        *redis.FAULTS,
        *postgres.FAULTS,
        *refusals.FAULTS,
        *locks.FAULTS,
        *migration.FAULTS,
    )
    chosen = [fault for fault in known if fault.name not in NOT_AT_RANDOM | EXTRAS]
    return {f.name: f for f in (*known, anything.at_random(chosen, seed=seed, seconds=seconds))}
