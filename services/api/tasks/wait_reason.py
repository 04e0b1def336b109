"""Finds out why a task waits if the reason is not stored in its row.

Its queue may be paused, or no living worker may serve the queue.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.queue_control import PAUSED
from shared.ledger.statement import Statement

#: Reads which queues are served and which are paused. The served queues come from the index of
#: living workers, the paused ones from the few rows of queues that were ever paused.
SERVED = Statement(f"""
    SELECT ARRAY(
        SELECT DISTINCT unnest(queues) FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
    ) AS served, {PAUSED}
""")

#: SQL expression for the reason why the task `t` waits: 'paused', 'unserved', or null. It is part
#: of the statement that reads the task.
WHY = """
    CASE WHEN t.status IN ('pending', 'retry') AND t.wait_reason IS NULL
              AND (t.send_at IS NULL OR t.send_at <= now())
        THEN CASE WHEN EXISTS (SELECT FROM queue_control AS c
                               WHERE c.queue = t.queue AND c.paused_at IS NOT NULL) THEN 'paused'
                  WHEN NOT EXISTS (SELECT FROM worker AS w WHERE w.dead_at IS NULL AND w.stopped_at IS NULL
                                   AND t.queue = ANY(w.queues)) THEN 'unserved' END END
"""


async def explain(database: Database, rows: Iterable[dict[str, Any]]) -> None:
    """Set `wait_reason` in the rows of tasks that could run but whose queue is paused or has no
    worker.
    """
    waiting = [row for row in rows if _could_run(row)]
    if not waiting:
        return
    (queues,) = await database.run(SERVED)
    for row in waiting:
        why = "paused" if row["queue"] in queues["paused"] else "unserved"
        if why == "paused" or row["queue"] not in queues["served"]:
            row["wait_reason"] = reason(why, row["queue"])


def reason(why: str, queue: str) -> str:
    """Return the text that the API shows for `why`, a value of the SQL expression WHY."""
    return f"the queue {queue} is paused" if why == "paused" else f"no worker serves the queue {queue}"


def _could_run(row: dict[str, Any]) -> bool:
    """Return True if the task is due and waits only for a worker.

    A task that has its own reason to wait, for example because its worker did not know its name,
    returns False.
    """
    is_waiting = row["status"] in (Status.PENDING, Status.RETRY) and row["wait_reason"] is None
    return is_waiting and (row["send_at"] is None or row["send_at"] <= datetime.now(UTC))
