"""Says why tasks wait where their rows do not: no living worker serves their queue."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement

#: Reads the index of living workers.
SERVED = Statement("""
    SELECT DISTINCT unnest(queues) AS queue FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
""")

#: The same for one task `t`, in the statement that reads it: it could run, and no worker serves its queue.
UNSERVED = """
    (t.status IN ('pending', 'retry') AND t.wait_reason IS NULL AND (t.send_at IS NULL OR t.send_at <= now())
     AND NOT EXISTS (SELECT FROM worker AS w
                     WHERE w.dead_at IS NULL AND w.stopped_at IS NULL AND t.queue = ANY(w.queues)))
"""


async def explain(database: Database, rows: Iterable[dict[str, Any]]) -> None:
    """Fill in `wait_reason` where a task could run and its queue has no worker."""
    waiting = [row for row in rows if _could_run(row)]
    if not waiting:
        return
    served = {row["queue"] for row in await database.run(SERVED)}
    for row in waiting:
        if row["queue"] not in served:
            row["wait_reason"] = unserved(row["queue"])


def unserved(queue: str) -> str:
    """The reason of tasks in a queue without a worker."""
    return f"no worker serves the queue {queue}"


def _could_run(row: dict[str, Any]) -> bool:
    """It waits for a worker, and not for its own time; a worker that parked it has said why."""
    is_waiting = row["status"] in (Status.PENDING, Status.RETRY) and row["wait_reason"] is None
    return is_waiting and (row["send_at"] is None or row["send_at"] <= datetime.now(UTC))
