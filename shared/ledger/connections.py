"""Declares how many connections to Postgres each process may open, and warns if too few are free.

Postgres refuses connections beyond `max_connections`. A process that gets none waits or fails, so
each process compares its maximum with the free connections when it starts.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.statement import Statement

log = logging.getLogger(__name__)

#: Maximum number of connections to Postgres in each of the connection pools.
API_POOL = 10
API_READ_POOL = 3
API_SCAN_POOL = 1
API_QUOTA_POOL = 1
WORKER_LEDGER_POOL = 4
SCHEDULER_POOL = 6

#: Reads the number of free connections, not counting the one that runs this statement. Sessions of
#: other roles may hide their type from it, but not their database. Background processes of the
#: server have no database, so they are not counted.
FREE = Statement("""
    SELECT current_setting('max_connections')::int AS limit,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - current_setting('reserved_connections')::int - count(*)::int AS free
    FROM pg_stat_activity
    WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
      AND pid <> pg_backend_pid()
""")


@dataclass(frozen=True, slots=True)
class Connections:
    """The maximum numbers of connections to Postgres of one process, by purpose."""

    service: str
    by_purpose: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_purpose.values())


API = Connections(
    "api",
    MappingProxyType(
        {
            "requests": API_POOL,
            "slow reads": API_READ_POOL,
            "scans": API_SCAN_POOL,
            "quotas": API_QUOTA_POOL,
        }
    ),
)
SCHEDULER = Connections("scheduler", MappingProxyType({"statements of all loops": SCHEDULER_POOL}))


def of_worker(threads: int) -> Connections:
    """The maximum numbers of connections of a worker.

    Each of its threads may run a task body that uses a connection.
    """
    purposes = {"ledger": WORKER_LEDGER_POOL, "advisory lock": 1, "task code": threads}
    return Connections("worker", MappingProxyType(purposes))


async def warn_when_scarce(database: Database, wanted: Connections) -> None:
    """Log a warning if Postgres has fewer free connections than this process may open.

    Call it at startup, before the process has opened a second connection. It never raises, because
    the process can start without the comparison.
    """
    try:
        (row,) = await database.run(FREE)
    except ServerUnavailable as error:
        text = "cannot compare the connections of this %s with the limit of Postgres: %s"
        log.warning(text, wanted.service, error)
        return
    except Exception:
        log.exception("cannot compare the connections of this %s with the limit of Postgres", wanted.service)
        return
    if row["free"] < wanted.total:
        purposes = ", ".join(f"{count} for {purpose}" for purpose, count in wanted.by_purpose.items())
        log.warning(
            "this %s may open %d connections to Postgres (%s), but only %d of max_connections = %d are free; "
            "raise max_connections, or run fewer processes or threads",
            wanted.service,
            wanted.total,
            purposes,
            row["free"],
            row["limit"],
        )
