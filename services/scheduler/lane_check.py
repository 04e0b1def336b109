"""Finds single task ids that lanes have lost, and makes their tasks due again.

A lane is the Redis list of one queue and priority. It is first in, first out, so an id is lost if it
was sent long before the id that is now at the head of its lane.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from services.scheduler.index_cursor import IndexCursor
from services.scheduler.slow_items import SlowItems
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import LOST
from shared.telemetry import metrics
from shared.transport.keys import PRIORITIES
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

EVERY_S = 10.0
#: Maximum number of lost ids of one lane that one round makes due again, from each of two ranges.
BATCH = 1_000
#: An id counts as lost only if it was sent at least this much earlier than the id at the head of its
#: lane. After this time, every id was pushed, marked or claimed.
MARGIN = timedelta(seconds=30)
#: Length of the windows of the cursors. With sixty windows, one of which every other check reads, each
#: gets its turn within twenty minutes.
WINDOW = timedelta(minutes=1)
#: Number of ids at the head of a lane whose rows are read. Ids that leave the lane in the meantime
#: are ignored.
HEAD = 16

#: Reads the current time, and whether the resender is sending all ids again.
STATE = "SELECT now() AS now, resend_cursor IS NOT NULL AS resending FROM generation WHERE id = 1"
#: Reads when these ids were sent. It skips ids that are no longer in the lane, and ids in a lane of
#: the other kind: suspects have lanes of their own.
SENT_AT = Statement("""
    SELECT sent_at FROM task
    WHERE id = ANY(:id::uuid[]) AND (sent_at IS NOT NULL AND suspect = :suspect) IS TRUE
""")
#: Reads the names of the queues that have sent tasks, with one index probe per queue. SELECT
#: DISTINCT would read all sent tasks.
WITH_SENT = Statement("""
    WITH RECURSIVE lane AS (
        (SELECT queue FROM task WHERE sent_at IS NOT NULL ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (
            SELECT queue FROM task WHERE sent_at IS NOT NULL AND queue > lane.queue ORDER BY queue LIMIT 1
        ) FROM lane WHERE lane.queue IS NOT NULL
    )
    SELECT queue FROM lane WHERE queue IS NOT NULL
""")
#: Reads the names of the queues that running workers serve.
SERVED = Statement("""
    SELECT DISTINCT unnest(queues) AS queue FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
""")


class LaneCheck:
    """Background service of the leading scheduler that compares the heads of lanes with the sent
    tasks in Postgres.
    """

    def __init__(self, database: Database, queues: Queues, queue_names: Collection[str]) -> None:
        """`queue_names` are the queues of the known contracts. Others are found in the ledger."""
        self._database = database
        self._queues = queues
        self._known = frozenset(queue_names)
        self._slow = SlowItems[str]("queue")
        self.restart()

    def restart(self) -> None:
        """Forget what earlier checks have found. Called when this process becomes the leader."""
        self._has_begun = False
        self._names = set(self._known)
        #: By queue and priority: before this time of `sent_at`, no sent task waits in the lane.
        self._cursors: dict[tuple[str, int], IndexCursor] = defaultdict(partial(IndexCursor, WINDOW))

    def sent_after(self, queue: str, priority: int) -> datetime:
        """Return a time before which no sent task of this queue and priority waits any more."""
        return self._cursors[queue, priority].after

    def lanes(self) -> dict[str, list[Any]]:
        """Return the checked lanes as columns for a statement: queue, priority, and the result of
        `sent_after`.
        """
        lanes = [(queue, priority) for queue in sorted(self._names) for priority in PRIORITIES]
        return {
            "queue": [queue for queue, _ in lanes],
            "priority": [priority for _, priority in lanes],
            "sent_after": [self.sent_after(*lane) for lane in lanes],
        }

    async def run_once(self) -> bool:
        """Check each lane once."""
        (state,) = await self._database.run(STATE)
        if state["resending"]:
            return False
        for cursor in self._cursors.values():
            cursor.restart_if_ahead_of(state["now"])
        rows = await self._database.run(SERVED)
        if not self._has_begun:
            # Queues of former contracts may have sent tasks and no worker. They are read only once
            # per term, because that takes long while a snapshot is open.
            rows += await self._database.run(WITH_SENT)
            self._has_begun = True
        self._names.update(row["queue"] for row in rows)
        others, slow = self._slow.begin_round(sorted(self._names))
        for queue in [*others, *slow]:
            with self._slow.tolerating(queue):
                await self._check(queue, state["now"])
        self._slow.end_round()
        return False

    async def _check(self, queue: str, now: datetime) -> None:
        suspects = await self._queues.rescued_head(queue, HEAD)
        suspects_before = await self._lost_before(suspects, now, suspect=True)
        for priority in PRIORITIES:
            head = await self._queues.head(queue, priority, HEAD)
            before = await self._lost_before(head, now, suspect=False)
            if before is not None:
                await self._take_back(queue, priority, before, suspects_before)

    async def _take_back(
        self, queue: str, priority: int, before: datetime, suspects_before: datetime | None
    ) -> None:
        cursor = self._cursors[queue, priority]
        look = cursor.look()
        lost = await self._database.run(
            LOST,
            queue=queue,
            priority=priority,
            after=[look.after, look.window_start],
            before=[before, min(before, look.window_end)],
            suspects_before=suspects_before,
            limit=BATCH,
        )
        if lost:
            text = "%d ids of tasks were missing in a lane of Redis and are sent again"
            log.warning(text, len(lost), extra={"queue": queue, "priority": priority})
            metrics.SENT.labels("lost").inc(len(lost))
        elif suspects_before is not None:
            cursor.note_empty(min(before, suspects_before))

    async def _lost_before(self, head: Sequence[UUID], now: datetime, *, suspect: bool) -> datetime | None:
        """Return the time before which ids sent to this lane are lost. It is not later than `now`,
        which was read before the head.

        Returns None if the head of the lane does not allow a conclusion. This includes a head that
        was sent long after `now`: the clock of Postgres was set back since, and ids behind the head
        have earlier times although they were sent later.
        """
        if not head:
            return now - MARGIN
        rows = await self._database.run(SENT_AT, id=sorted(head), suspect=suspect)
        oldest = min((row["sent_at"] for row in rows), default=None)
        return None if oldest is None or oldest > now + MARGIN else oldest - MARGIN
