"""Finds out what Redis lost and sends it again.

A generation number is stored in Postgres and in Redis. When it is missing or different in Redis, the lanes
are gone, and every sent row is pushed again; while that goes on, the number in Redis is negative. The same
follows when Redis has been told of a later check than Postgres knows: Postgres was restored from a backup, or
a standby took over that lacked the latest commits. A new run id means a restart of Redis that may have lost
the tail. And whatever the reason, in a FIFO lane an id that was sent well before the one now at its head can
only have been lost.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import LOST
from shared.telemetry import metrics
from shared.transport.keys import PRIORITIES
from shared.transport.queues import Address, Queues

log = logging.getLogger(__name__)

EVERY_S = 1.0
LANES_EVERY_S = 10.0
#: Ids per push of a re-send; the cursor is saved after each.
BATCH = 5_000
#: At most this many ids of a lane are sent again in one round of the FIFO check.
LOST_BATCH = 1_000
#: How far the FIFO check stays behind the head of a lane: a push, its mark and its claim are done by then.
MARGIN = timedelta(seconds=30)
#: How far back a restart of Redis may have lost writes (appendfsync everysec loses 1 s, a failover more).
TAIL = timedelta(seconds=60)
#: Stored in place of a run id after a re-send. Ids that were pushed into the lost lanes and marked only after
#: the re-send had read their rows are to be sent once more.
SETTLING = "late marks"
#: How long a mark may come after its push.
LATE_MARKS = timedelta(seconds=5)
#: Ids at the head of a lane that the FIFO check looks up; those that are elsewhere by now say nothing.
HEAD = 16

SENT_AGAIN = "all sent tasks are sent again"

NOW = "SELECT now() AS now"
STATE = Statement("SELECT number, run_id, resend_cursor, checked_at FROM generation WHERE id = 1")
SAVE_CURSOR = Statement("UPDATE generation SET resend_cursor = :cursor::text::jsonb WHERE id = 1")
NEW_GENERATION = Statement("""
    UPDATE generation SET number = number + 1, resend_cursor = '["", 0, null, null]', run_id = :run_id
    WHERE id = 1 RETURNING number
""")
RESEND_DONE = Statement("""
    UPDATE generation SET run_id = :run_id, checked_at = now() WHERE id = 1 RETURNING checked_at
""")
#: Late marks are still to come (see `LATE_MARKS`), so the time of the last good check stays.
LANES_FILLED = Statement("UPDATE generation SET resend_cursor = NULL, run_id = :run_id WHERE id = 1")
CHECKED = Statement("UPDATE generation SET checked_at = now() WHERE id = 1 RETURNING checked_at")

#: In the order of the lanes, so that a re-send keeps FIFO.
SENT = Statement("""
    SELECT id, queue, priority, sent_at, suspect FROM task WHERE sent_at IS NOT NULL
      AND (queue, priority, sent_at, id)
          > (:queue, :priority, coalesce(:sent_at::timestamptz, '-infinity'), :last)
    ORDER BY queue, priority, sent_at, id LIMIT :limit
""")
#: Rows of one priority.
SENT_SINCE = Statement("""
    SELECT id, queue, priority, sent_at, suspect FROM task
    WHERE queue = :queue AND priority = :priority AND sent_at IS NOT NULL
      AND (sent_at, id) > (:sent_at, :last)
    ORDER BY sent_at, id LIMIT :limit
""")
#: Reads when ids were sent. An id that is elsewhere by now is left out: it is in no lane, or in one of the
#: other kind.
SENT_AT = Statement("""
    SELECT sent_at FROM task
    WHERE id = ANY(:id::uuid[]) AND (sent_at IS NOT NULL AND suspect = :suspect) IS TRUE
""")
#: The queues that hold sent rows, one index probe each: DISTINCT would read the whole backlog.
LANES = Statement("""
    WITH RECURSIVE lane AS (
        (SELECT queue FROM task WHERE sent_at IS NOT NULL ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (
            SELECT queue FROM task WHERE sent_at IS NOT NULL AND queue > lane.queue ORDER BY queue LIMIT 1
        ) FROM lane WHERE lane.queue IS NOT NULL
    )
    SELECT queue FROM lane WHERE queue IS NOT NULL
""")


class Resender:
    """Compares what the ledger has sent with what Redis still holds."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues

    async def run_once(self) -> bool:
        """Compare generation, run id and time of the last check; True while a re-send goes on."""
        # Redis first: what it has been told was committed before, and a ledger that lacks it was restored.
        told = await self._queues.checked_at()
        (state,) = await self._database.run(STATE)
        run_id = await self._queues.run_id()
        generation, number = await self._queues.generation(), state["number"]
        resending = state["resend_cursor"] is not None
        restored = told is not None and told > state["checked_at"]
        if resending and generation == -number and not restored:
            return await self._resend_batch(msgspec.json.decode(state["resend_cursor"]), number)
        if resending or generation != number or restored:
            # This also covers a Redis that was wiped during a re-send: the negative number is gone then.
            await self._begin(state, run_id, restored=restored)
            return True
        if state["run_id"] != run_id:
            tail = LATE_MARKS if state["run_id"] == SETTLING else TAIL
            await self._resend_tail(state["checked_at"] - tail)
            (checked,) = await self._database.run(RESEND_DONE, run_id=run_id)
        else:
            (checked,) = await self._database.run(CHECKED)
        await self._queues.set_checked_at(checked["checked_at"])
        return False

    async def _begin(self, state: dict[str, Any], run_id: str, *, restored: bool) -> None:
        """Begin a new generation: all sent tasks are sent again."""
        if restored:
            log.warning("Postgres is older than what Redis has seen, as after a restore: %s", SENT_AGAIN)
        elif state["number"]:
            log.warning("Redis lost its lanes: %s", SENT_AGAIN)
        (new,) = await self._database.run(NEW_GENERATION, run_id=run_id)
        await self._queues.set_generation(-new["number"])
        await self._queues.set_checked_at(state["checked_at"])

    async def _resend_batch(self, cursor: list[Any], number: int) -> bool:
        queue, priority, sent_at, last = cursor
        rows = await self._database.run(
            SENT,
            queue=queue,
            priority=priority,
            sent_at=datetime.fromisoformat(sent_at) if sent_at else None,
            last=UUID(last or UUID(int=0).hex),
            limit=BATCH,
        )
        await self._push(rows, "generation")
        if len(rows) == BATCH:
            end = rows[-1]
            cursor = [end["queue"], end["priority"], end["sent_at"].isoformat(), str(end["id"])]
            await self._database.run(SAVE_CURSOR, cursor=msgspec.json.encode(cursor).decode())
            return True
        # Last of all, so that a death before this line repeats the re-send.
        await self._queues.set_generation(number)
        await self._database.run(LANES_FILLED, run_id=SETTLING)
        log.info("Redis holds all sent tasks, generation %d", number)
        return False

    async def _resend_tail(self, since: datetime) -> None:
        """Runs in one round, so that a death on the way begins it again."""
        count = 0
        for lane in await self._database.run(LANES):
            for priority in PRIORITIES:
                count += await self._resend_lane(lane["queue"], priority, since)
        if count:
            log.warning("Redis lost its latest writes: %d recently sent tasks were sent again", count)

    async def _resend_lane(self, queue: str, priority: int, since: datetime) -> int:
        """In batches, because a lane may hold millions; returns how many ids were sent."""
        count, sent_at, last = 0, since, UUID(int=0)
        while rows := await self._database.run(
            SENT_SINCE, queue=queue, priority=priority, sent_at=sent_at, last=last, limit=BATCH
        ):
            await self._push(rows, "restart")
            count += len(rows)
            sent_at, last = rows[-1]["sent_at"], UUID(int=rows[-1]["id"].int)
        return count

    async def check_lanes(self) -> bool:
        """Return ids to `send_at` that were sent well before the head of their lane: they are lost."""
        if (await self._database.run(STATE))[0]["resend_cursor"] is not None:
            return False
        for row in await self._database.run(LANES):
            await self._check_queue(row["queue"])
        return False

    async def _check_queue(self, queue: str) -> None:
        suspects_before = await self._lost_before(await self._queues.rescued_head(queue, HEAD), suspect=True)
        for priority in PRIORITIES:
            before = await self._lost_before(await self._queues.head(queue, priority, HEAD), suspect=False)
            lost = await self._database.run(
                LOST,
                queue=queue,
                priority=priority,
                before=before,
                suspects_before=suspects_before,
                limit=LOST_BATCH,
            )
            if lost:
                log.warning("%d ids were lost in lane %s/%d: sent again", len(lost), queue, priority)
                metrics.SENT.labels("lost").inc(len(lost))

    async def _lost_before(self, head: Sequence[UUID], *, suspect: bool) -> datetime | None:
        """A lane with this head has lost what was sent earlier; None when the head says nothing."""
        if head:
            rows = await self._database.run(SENT_AT, id=sorted(head), suspect=suspect)
            oldest = min((row["sent_at"] for row in rows), default=None)
        else:
            oldest = (await self._database.run(NOW))[0]["now"]
        return None if oldest is None else oldest - MARGIN

    async def _push(self, rows: list[dict[str, Any]], reason: str) -> None:
        await self._queues.push(
            Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in rows
        )
        metrics.SENT.labels(reason).inc(len(rows))
