"""Detects which task ids Redis has lost, and sends them to Redis again.

Ids wait in lanes, the Redis lists of each queue and priority. Four checks find losses. First,
Postgres and Redis both store a generation number. If it is missing in Redis or differs, all lanes
were lost, and every sent task is pushed again; meanwhile, the number in Redis is negative. Second,
both store the time of the last check. If Redis has a later time than Postgres, Postgres was
restored from a backup or replaced by a standby without the latest commits, and every sent task is
pushed again too. Third, a new run id of Redis means that it restarted and may have lost its latest
writes, so the latest ids are pushed again. Fourth, an id is lost if it was sent long before the id
that is now at the head of its lane, because lanes are first in, first out.
"""

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.scheduler.lane_check import WITH_SENT
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.telemetry import metrics
from shared.transport.keys import PRIORITIES
from shared.transport.queues import Address, Queues

log = logging.getLogger(__name__)

EVERY_S = 1.0
#: Number of ids in one push while all tasks are sent again. The position is saved after each push.
BATCH = 5_000
#: Age of the ids that are pushed again after a restart of Redis. With appendfsync everysec, it may
#: have lost 1 s of writes; after a failover, it may have lost more.
TAIL = timedelta(seconds=60)
#: Value that is stored in place of Redis' run id after all tasks were sent again. It causes one
#: more pass for ids that were pushed to the lost lanes, but whose rows were marked as sent only
#: after the re-send had read them.
SETTLING = "late marks"
#: Longest expected time between pushing an id and marking its row as sent.
LATE_MARKS = timedelta(seconds=5)

SENT_AGAIN = "all sent tasks are sent again"

STATE = Statement("SELECT number, run_id, resend_cursor, checked_at FROM generation WHERE id = 1")
SAVE_CURSOR = Statement("UPDATE generation SET resend_cursor = :cursor::text::jsonb WHERE id = 1")
NEW_GENERATION = Statement("""
    UPDATE generation SET number = number + 1, resend_cursor = '["", 0, null, null]', run_id = :run_id
    WHERE id = 1 RETURNING number
""")
RESEND_DONE = Statement("""
    UPDATE generation SET run_id = :run_id, checked_at = now() WHERE id = 1 RETURNING checked_at
""")
#: Ends a re-send of all tasks. It does not change `checked_at`, the time of the last good check,
#: because some rows may still be marked late (see `LATE_MARKS`).
LANES_FILLED = Statement("UPDATE generation SET resend_cursor = NULL, run_id = :run_id WHERE id = 1")
CHECKED = Statement("UPDATE generation SET checked_at = now() WHERE id = 1 RETURNING checked_at")

#: Reads sent tasks by queue, priority and time, so that they keep their order when they are sent
#: again.
SENT = Statement("""
    SELECT id, queue, priority, sent_at, suspect FROM task WHERE sent_at IS NOT NULL
      AND (queue, priority, sent_at, id)
          > (:queue, :priority, coalesce(:sent_at::timestamptz, '-infinity'), :last)
    ORDER BY queue, priority, sent_at, id LIMIT :limit
""")
#: Reads the tasks of one queue and priority that were sent after a given time.
SENT_SINCE = Statement("""
    SELECT id, queue, priority, sent_at, suspect FROM task
    WHERE queue = :queue AND priority = :priority AND sent_at IS NOT NULL
      AND (sent_at, id) > (:sent_at, :last)
    ORDER BY sent_at, id LIMIT :limit
""")


class Resender:
    """Background service of the leading scheduler that compares the sent tasks in Postgres with the
    ids in Redis.
    """

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues

    async def run_once(self) -> bool:
        """Compare the generation, Redis' run id and the time of the last check.

        Returns True while tasks are being sent again.
        """
        # Redis is read before Postgres. Redis gets only times that Postgres has committed. A later
        # time in Redis therefore proves that Postgres was restored.
        told = await self._queues.checked_at()
        (state,) = await self._database.run(STATE)
        run_id = await self._queues.run_id()
        generation, number = await self._queues.generation(), state["number"]
        resending = state["resend_cursor"] is not None
        restored = told is not None and told > state["checked_at"]
        if resending and generation == -number and not restored:
            return await self._resend_batch(msgspec.json.decode(state["resend_cursor"]), number)
        if resending or generation != number or restored:
            # This is also true if Redis was wiped during a re-send, because then its negative
            # generation number is gone.
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
        """Begin a new generation, in which all sent tasks are sent again."""
        if restored:
            log.warning("Postgres was restored to an older state than Redis knows: %s", SENT_AGAIN)
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
        # The generation number is set last, so that a crash before this line repeats the re-send.
        await self._queues.set_generation(number)
        await self._database.run(LANES_FILLED, run_id=SETTLING)
        log.info(
            "Redis or Postgres had lost data: all waiting tasks were sent to Redis again (generation %d)",
            number,
        )
        return False

    async def _resend_tail(self, since: datetime) -> None:
        """Send the latest ids of all lanes again, in a single round.

        A crash in the middle causes the whole round to be repeated.
        """
        count = 0
        for lane in await self._database.run(WITH_SENT):
            for priority in PRIORITIES:
                count += await self._resend_lane(lane["queue"], priority, since)
        if count:
            log.warning(
                "Redis restarted and may have lost its latest writes: %d recently sent tasks were sent again",
                count,
            )

    async def _resend_lane(self, queue: str, priority: int, since: datetime) -> int:
        """Send ids of one queue and priority again. Returns how many were sent.

        They are sent in batches, because there may be millions.
        """
        count, sent_at, last = 0, since, UUID(int=0)
        while rows := await self._database.run(
            SENT_SINCE, queue=queue, priority=priority, sent_at=sent_at, last=last, limit=BATCH
        ):
            await self._push(rows, "restart")
            count += len(rows)
            sent_at, last = rows[-1]["sent_at"], UUID(int=rows[-1]["id"].int)
        return count

    async def _push(self, rows: list[dict[str, Any]], reason: str) -> None:
        await self._queues.push(
            Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in rows
        )
        metrics.SENT.labels(reason).inc(len(rows))
