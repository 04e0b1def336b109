"""Says why tasks wait where their rows do not: their queue is paused, or no living worker serves it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.queue_control import PAUSED
from shared.ledger.statement import Statement

#: Reads the index of living workers, and the few rows of queues that were ever paused.
SERVED = Statement(f"""
    SELECT ARRAY(
        SELECT DISTINCT unnest(queues) FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
    ) AS served, {PAUSED}
""")


async def explain(database: Database, rows: Iterable[dict[str, Any]]) -> None:
    """Fill in `wait_reason` where a task could run and its queue is paused or has no worker."""
    waiting = [row for row in rows if _could_run(row)]
    if not waiting:
        return
    (queues,) = await database.run(SERVED)
    for row in waiting:
        if row["queue"] in queues["paused"]:
            row["wait_reason"] = f"the queue {row['queue']} is paused"
        elif row["queue"] not in queues["served"]:
            row["wait_reason"] = f"no worker serves the queue {row['queue']}"


def _could_run(row: dict[str, Any]) -> bool:
    """It waits for a worker, and not for its own time; a worker that parked it has said why."""
    is_waiting = row["status"] in (Status.PENDING, Status.RETRY) and row["wait_reason"] is None
    return is_waiting and (row["send_at"] is None or row["send_at"] <= datetime.now(UTC))
