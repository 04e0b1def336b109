"""Checks that the numbers of finished tasks in Prometheus and in Postgres agree."""

import time
from datetime import UTC, datetime

from tests.incidents.system import System

#: Seconds of load before each restart of a worker, and after the last one. A worker that stops
#: loses the counts since its last scrape, up to 5 s ago. With these durations, that is less than
#: SHARE of all tasks.
BEFORE_S, AFTER_S = 420.0, 300.0
RANGE_S = 2 * BEFORE_S + AFTER_S
SHARE = 0.005
#: Seconds after which Prometheus has surely scraped the counts of finished tasks.
SCRAPED_S = 10.0

IN_LEDGER = "SELECT count(*) FROM task WHERE status = 'success' AND completed_at > {} AND completed_at <= {}"
IN_PROMETHEUS = f'sum(increase(often_tasks_finished_total{{outcome="success"}}[{RANGE_S:.0f}s]))'


async def compared(system: System) -> str:
    """Compare the number of finished tasks in Postgres and in Prometheus. Returns both as text.
    Raises AssertionError if they differ too much.
    """
    end = time.time() - SCRAPED_S
    moments = [datetime.fromtimestamp(moment, UTC) for moment in (end - RANGE_S, end)]
    ((row,), (counted,)) = (
        await system.platform.rows(IN_LEDGER, *moments),
        await system.prometheus.values(IN_PROMETHEUS, time=str(end)),
    )
    ledger = row["count"]
    share = abs(counted - ledger) / ledger
    found = f"{ledger} in the ledger, {counted:.0f} in Prometheus, {share:.2%} apart"
    assert share <= SHARE, found
    return found
