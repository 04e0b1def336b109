"""Finds out what Redis lost and sends it again.

A generation number lies in Postgres and in Redis: missing or different there means that the lanes are gone,
and every sent row is pushed anew; while that goes on the number in Redis is negative. A new run id means a
restart that may have lost the tail. And whatever the reason, in a FIFO lane an id that was sent well before
the one now at its head can only have been lost.
"""

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from shared.ledger import engine
from shared.telemetry import metrics
from shared.transport.queues import PRIORITIES, Address, Queues

log = logging.getLogger(__name__)

EVERY_S = 1.0
LANES_EVERY_S = 10.0
#: Ids per push of a re-send; the cursor is saved after each.
BATCH = 5_000
#: Most ids of one round that the FIFO check sends again.
LOST_BATCH = 1_000
#: How far the FIFO check stays behind the head of a lane: a push, its mark and its claim are done by then.
MARGIN = timedelta(seconds=30)
#: How far back a restart of Redis may have lost writes (appendfsync everysec loses 1 s, a failover more).
TAIL = timedelta(seconds=60)
#: In the place of a run id: what was pushed into the lost lanes and marked only after they were read is to be
#: sent once more.
SETTLING = "late marks"
#: How long a mark may come after its push.
LATE_MARKS = timedelta(seconds=5)
#: Ids looked at from the head of a lane; those that are elsewhere by now say nothing.
HEAD = 16

STATE = "SELECT number, run_id, resend_cursor, checked_at FROM generation WHERE id = 1"
SAVE_CURSOR = "UPDATE generation SET resend_cursor = {}::text::jsonb WHERE id = 1"
NEW_GENERATION = """
    UPDATE generation SET number = number + 1, resend_cursor = '["", 0, null, null]', run_id = {} WHERE id = 1
    RETURNING number
"""
RESEND_DONE = "UPDATE generation SET run_id = {}, checked_at = now() WHERE id = 1"
#: Not all yet: see `LATE_MARKS`. When the last good check was stays known for it.
LANES_FILLED = "UPDATE generation SET resend_cursor = NULL, run_id = {} WHERE id = 1"
CHECKED = "UPDATE generation SET checked_at = now() WHERE id = 1"

#: In the order of the lanes, so that a re-send keeps FIFO. values: queue, priority, sent_at, id, limit.
SENT = """
    SELECT id, queue, priority, sent_at, suspect FROM task WHERE sent_at IS NOT NULL
      AND (queue, priority, sent_at, id) > ({}, {}, coalesce({}::timestamptz, '-infinity'), {})
    ORDER BY queue, priority, sent_at, id LIMIT {}
"""
#: Of one lane. values: queue, priority, sent_at, id, limit.
SENT_SINCE = """
    SELECT id, queue, priority, sent_at, suspect FROM task
    WHERE queue = {} AND priority = {} AND sent_at IS NOT NULL AND (sent_at, id) > ({}, {})
    ORDER BY sent_at, id LIMIT {}
"""
SENT_AT = "SELECT id, sent_at FROM task WHERE id = ANY({}::uuid[]) AND (sent_at IS NOT NULL) IS TRUE"
#: The queues that hold sent rows, one index probe each: DISTINCT would read the whole backlog.
LANES = """
    WITH RECURSIVE lane AS (
        (SELECT queue FROM task WHERE sent_at IS NOT NULL ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (
            SELECT queue FROM task WHERE sent_at IS NOT NULL AND queue > lane.queue ORDER BY queue LIMIT 1
        ) FROM lane WHERE lane.queue IS NOT NULL
    )
    SELECT queue FROM lane WHERE queue IS NOT NULL
"""
#: values: queue, priority, limit of sent_at, limit of rows.
LOST = """
    UPDATE task SET send_at = now(), sent_at = NULL
    WHERE (sent_at IS NOT NULL) IS TRUE AND id IN (
        SELECT id FROM task WHERE queue = {} AND priority = {} AND sent_at IS NOT NULL AND sent_at < {}
        ORDER BY sent_at LIMIT {}
    )
    RETURNING id
"""


class Resender:
    """Compares what the ledger has sent with what Redis still holds."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def run_once(self) -> bool:
        """One look at generation and run id; True while a re-send goes on."""
        (state,) = await engine.run(STATE)
        run_id = await self._queues.run_id()
        generation, number = await self._queues.generation(), state["number"]
        resending = state["resend_cursor"] is not None
        if resending and generation == -number:
            return await self._resend_batch(msgspec.json.decode(state["resend_cursor"]), number)
        if resending or generation != number:
            # Also when Redis was wiped in the middle of a re-send: the mark of its start is gone then.
            if number:
                log.warning("Redis has lost its lanes: everything that was sent is sent again")
            (new,) = await engine.run(NEW_GENERATION, run_id)
            await self._queues.set_generation(-new["number"])
            return True
        if state["run_id"] != run_id:
            tail = LATE_MARKS if state["run_id"] == SETTLING else TAIL
            await self._resend_tail(state["checked_at"] - tail)
            await engine.run(RESEND_DONE, run_id)
        else:
            await engine.run(CHECKED)
        return False

    async def _resend_batch(self, cursor: list[Any], number: int) -> bool:
        queue, priority, sent_at, last = cursor
        after = (
            queue,
            priority,
            datetime.fromisoformat(sent_at) if sent_at else None,
            UUID(last or UUID(int=0).hex),
        )
        rows = await engine.run(SENT, *after, BATCH)
        await self._push(rows, "generation")
        if len(rows) == BATCH:
            end = rows[-1]
            cursor = [end["queue"], end["priority"], end["sent_at"].isoformat(), str(end["id"])]
            await engine.run(SAVE_CURSOR, msgspec.json.encode(cursor).decode())
            return True
        # Last of all, so that a death before this line repeats the re-send.
        await self._queues.set_generation(number)
        await engine.run(LANES_FILLED, SETTLING)
        log.info("Redis holds all that was sent, generation %d", number)
        return False

    async def _resend_tail(self, since: datetime) -> None:
        """All in one round: whoever dies on the way begins again."""
        count = 0
        for lane in await engine.run(LANES):
            for priority in PRIORITIES:
                count += await self._resend_lane(lane["queue"], priority, since)
        if count:
            log.warning("Redis lost its latest writes: %d ids sent lately were sent again", count)

    async def _resend_lane(self, queue: str, priority: int, since: datetime) -> int:
        """In batches, for a lane may hold millions; returns how many there were."""
        count, last = 0, (since, UUID(int=0))
        while rows := await engine.run(SENT_SINCE, queue, priority, *last, BATCH):
            await self._push(rows, "restart")
            count += len(rows)
            last = (rows[-1]["sent_at"], UUID(int=rows[-1]["id"].int))
        return count

    async def check_lanes(self) -> bool:
        """Whatever was sent well before the head of its lane is lost; it goes back to `send_at`."""
        if (await engine.run(STATE))[0]["resend_cursor"] is not None:
            return False
        for row in await engine.run(LANES):
            for priority in PRIORITIES:
                await self._check_lane(row["queue"], priority)
        return False

    async def _check_lane(self, queue: str, priority: int) -> None:
        head = await self._queues.head(queue, priority, HEAD)
        if head:
            rows = await engine.run(SENT_AT, sorted(head))
            if not rows:
                return
            oldest = min(row["sent_at"] for row in rows)
        else:
            ((oldest,),) = [row.values() for row in await engine.run("SELECT now() AS now")]
        lost = await engine.run(LOST, queue, priority, oldest - MARGIN, LOST_BATCH)
        if lost:
            log.warning("%d ids were lost in lane %s/%d: sent again", len(lost), queue, priority)
            metrics.SENT.labels("lost").inc(len(lost))

    async def _push(self, rows: list[dict[str, Any]], reason: str) -> None:
        await self._queues.push(
            Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in rows
        )
        metrics.SENT.labels(reason).inc(len(rows))
