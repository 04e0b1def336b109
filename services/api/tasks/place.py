"""Shows the position of a waiting task in its queue, when it may start, and why it waits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.api.tasks import wait_reason
from services.api.tasks.schemas import TaskPlace, WaitCause
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S

#: Maximum number of tasks ahead of this task that are counted.
MAX_BEFORE = 10_000
#: Number of whole minutes over which the start rate of a queue is measured.
MINUTES = 5

#: Reads a task's position in its queue, from two ranges of the index of sent tasks and the
#: statistics of a few minutes. A task is sent when its id is in Redis. If its row is not marked as
#: sent yet, its `send_at` is used instead of `sent_at`, because the id of a new task is pushed
#: before the row is marked. The rate of starts is estimated by the rate of attempts that ended,
#: because both are equal over minutes.
PLACE = Statement("""
    SELECT t.status, t.queue, t.send_at, t.wait_reason, now() AS now,
        EXISTS (SELECT FROM queue_control AS c WHERE c.queue = t.queue AND c.paused_at IS NOT NULL) AS paused,
        EXISTS (SELECT FROM worker AS w WHERE w.dead_at IS NULL AND w.stopped_at IS NULL
                AND t.queue = ANY(w.queues)) AS served,
        (
            SELECT count(*)::int FROM (
                SELECT FROM task AS b
                WHERE b.queue = t.queue AND b.priority > t.priority AND b.sent_at IS NOT NULL
                UNION ALL
                SELECT FROM task AS b
                WHERE b.queue = t.queue AND b.priority = t.priority AND b.sent_at IS NOT NULL
                  AND (b.sent_at, b.id) < (coalesce(t.sent_at, t.send_at), t.id)
                LIMIT :most
            ) AS sent
        ) AS before,
        (
            SELECT coalesce(sum(n), 0)::float8 FROM task_minute AS m
            WHERE m.queue = t.queue AND m.outcome <> 'revoked'
              AND m.minute >= date_trunc('minute', now()) - make_interval(mins => :minutes)
              AND m.minute < date_trunc('minute', now())
        ) / (60 * :minutes) AS rate
    FROM task AS t WHERE t.id = :id
""")


async def find(database: Database, task_id: UUID) -> TaskPlace:
    """Return the position of a task in its queue.

    The task must exist and be visible to the reader.
    """
    (row,) = await database.run(PLACE, id=task_id, most=MAX_BEFORE + 1, minutes=MINUTES)
    return answer(task_id, row)


def answer(task_id: UUID, row: Mapping[str, Any]) -> TaskPlace:
    """Build the response from `row`, which is a result row of the statement PLACE."""
    waits = row["status"] in (Status.PENDING, Status.RETRY)
    causes = [*_causes(row)] if waits else []
    counts = waits and not _is_delayed(row)
    return TaskPlace(
        task_id=task_id,
        status=row["status"],
        queue=row["queue"],
        before=min(row["before"], MAX_BEFORE) if counts else None,
        before_is_exact=row["before"] <= MAX_BEFORE,
        starts_per_s=round(row["rate"], 3),
        predicted_start=_predicted(row, causes) if waits else None,
        causes=causes,
    )


def _is_delayed(row: Mapping[str, Any]) -> bool:
    """Return True if the task is delayed.

    A new task also has a `send_at` a few seconds ahead, so that the dispatcher sends it if its id
    could not be pushed. It does not count as delayed.
    """
    return row["send_at"] is not None and row["send_at"] > row["now"] + timedelta(seconds=PUSH_NET_S)


def _causes(row: Mapping[str, Any]) -> Iterator[WaitCause]:
    """Yield the reasons why the task waits, other than the tasks ahead of it."""
    if _is_delayed(row):
        yield WaitCause("delayed", f"it is due at {row['send_at'].isoformat()}")
    if row["paused"]:
        yield WaitCause("paused", wait_reason.reason("paused", row["queue"]))
    if not row["served"]:
        yield WaitCause("unserved", wait_reason.reason("unserved", row["queue"]))
    if row["wait_reason"] is not None:
        yield WaitCause("noted", row["wait_reason"])


def _predicted(row: Mapping[str, Any], causes: Sequence[WaitCause]) -> datetime | None:
    """Estimate when the task will start.

    Returns None if that cannot be estimated: the queue is paused, no worker serves it, its start
    rate is unknown, or too many tasks are ahead.
    """
    if not {cause.kind for cause in causes}.isdisjoint(("paused", "unserved")):
        return None
    now: datetime = row["now"]
    if _is_delayed(row):
        due: datetime = row["send_at"]
        return due
    if row["before"] == 0:
        return now
    if row["before"] > MAX_BEFORE or not row["rate"]:
        return None
    return now + timedelta(seconds=row["before"] / row["rate"])
