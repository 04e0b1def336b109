"""Takes back what dead workers held.

A worker is dead when its lock is free and its heartbeat stands still for a whole lease, or when its heartbeat
stands still for `stall_after` although it holds its lock. Only what this process itself saw unchanged counts,
by its own monotonic clock. A restart of Postgres (which frees every lock) or a change of leader therefore
kills no worker.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.lifecycle import CRASH_LIMIT, FINAL, ErrorKind
from shared.ledger.statement import Statement
from shared.ledger.tally import Tally
from shared.ledger.transitions.rescue import RESCUE_FROM, RESCUE_ORPHANS
from shared.ledger.transitions.send import UNCLAIMED_TO_POSTGRES
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

EVERY_S = 1.0
#: How long a free lock and a still heartbeat must last. A worker takes less time to renew both (1 s plus a
#: connect).
LOCK_LEASE_S = 5.0
#: The same for a lock that was never taken since this process began to watch, or whose worker went on without
#: it. A restart of Postgres frees all locks, and a busy interpreter needs this long to connect again.
UNSEEN_LEASE_S = 20.0
#: Interval of the full scan for tasks held by unknown workers. Tasks of workers that were declared dead are
#: rescued in every round.
ORPHANS_EVERY_S = 10.0
#: Rows per statement.
BATCH = 1_000

#: Values of the rescue statements that never change.
VERDICT: Mapping[str, Any] = {
    "limit": BATCH,
    "crash_limit": CRASH_LIMIT,
    "crash_loop": ErrorKind.CRASH_LOOP,
    "message": f"its worker died {CRASH_LIMIT} times while it ran alone; retry it once the cause is fixed",
    "worker_died": ErrorKind.WORKER_DIED,
}

#: An advisory lock on one bigint key shows the halves of the key as classid and objid, with objsubid 1.
#: A scheduler keeps its connections open, so a new one shows that connections were cut. That frees the
#: locks of living workers too.
WORKERS = Statement("""
    SELECT w.id, w.beat, w.started_at, now() AS now, (
        SELECT max(backend_start) FROM pg_stat_activity
        WHERE application_name = 'often-scheduler' AND datname = current_database()
    ) AS schedulers_connected_at, EXISTS (
        SELECT 1 FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND (l.classid::bigint << 32 | l.objid::bigint) = w.lock_key
    ) AS locked
    FROM worker AS w WHERE w.dead_at IS NULL AND w.stopped_at IS NULL
""")

DECLARE_DEAD = Statement("""
    UPDATE worker SET dead_at = now() WHERE id = ANY(:workers::uuid[]) AND dead_at IS NULL
""")

#: Workers that are gone and whose unacked set may still be in Redis.
RECENTLY_DEAD = Statement("SELECT id FROM worker WHERE dead_at > now() - interval '1 hour'")


@dataclass(frozen=True, slots=True)
class LastSeen:
    """The heartbeat and lock of a worker as last seen, and since when each has not changed."""

    beat: int
    locked: bool
    #: True when its lock was held since the watch began, and no heartbeat has come without it since.
    was_locked: bool
    beat_since: float
    lock_free_since: float


class Watch:
    """Decides from what one process saw; pure except for the clock that is passed in."""

    def __init__(self, stall_after_s: float) -> None:
        self._stall_after_s = stall_after_s
        self._workers: dict[UUID, LastSeen] = {}
        #: By the database's clock.
        self._began_at: datetime | None = None
        self._schedulers_connected_at: datetime | None = None

    def restart(self) -> None:
        """Forget everything: after a reconnect or a change of leader a whole lease must pass again."""
        self._workers.clear()
        self._began_at = None

    def observe(self, workers: Sequence[Mapping[str, Any]], now: float) -> list[UUID]:
        """Note the workers' state at `now`; returns those that are dead by now."""
        if workers and workers[0]["schedulers_connected_at"] != self._schedulers_connected_at:
            self._schedulers_connected_at = workers[0]["schedulers_connected_at"]
            self.restart()
        if self._began_at is None and workers:
            self._began_at = workers[0]["now"]
        self._workers = {row["id"]: self._compare(row, now) for row in workers}
        return [worker for worker, seen in self._workers.items() if self._is_dead(seen, now)]

    def _compare(self, row: Mapping[str, Any], now: float) -> LastSeen:
        before = self._workers.get(row["id"])
        if before is None:
            # A worker takes its lock before it writes its row.
            locked_since = self._began_at is not None and row["started_at"] > self._began_at
            return LastSeen(row["beat"], row["locked"], row["locked"] or locked_since, now, now)
        # A heartbeat that goes on without the lock: only the connection was lost. It needs time to come back.
        lost_lock = not before.locked and not row["locked"] and row["beat"] != before.beat
        return LastSeen(
            row["beat"],
            row["locked"],
            row["locked"] or (before.was_locked and not lost_lock),
            before.beat_since if before.beat == row["beat"] else now,
            now if before.locked or row["locked"] else before.lock_free_since,
        )

    def _is_dead(self, seen: LastSeen, now: float) -> bool:
        silent = now - seen.beat_since
        unlocked = 0.0 if seen.locked else now - seen.lock_free_since
        lease = LOCK_LEASE_S if seen.was_locked else UNSEEN_LEASE_S
        return silent >= self._stall_after_s or min(silent, unlocked) >= lease


class Rescuer:
    """Declares workers dead and sends their tasks again."""

    def __init__(self, database: Database, queues: Queues, tally: Tally, *, stall_after_s: float) -> None:
        self._database = database
        self._queues = queues
        self._publisher = Publisher(queues)
        self._tally = tally
        self._orphans_at = -ORPHANS_EVERY_S
        self.watch = Watch(stall_after_s)

    async def run_once(self) -> bool:
        """Judge, rescue a batch, clean up in Redis; True when there may be more."""
        try:
            return await self._rescue()
        except ServerUnavailable as error:
            if error.server == "Postgres":
                self.watch.restart()
            raise

    async def _rescue(self) -> bool:
        dead = self.watch.observe(await self._database.run(WORKERS), time.monotonic())
        if dead:
            log.warning("workers declared dead: %s", ", ".join(map(str, dead)))
            await self._database.run(DECLARE_DEAD, workers=sorted(dead))
            metrics.WORKERS_DECLARED_DEAD.inc(len(dead))
        gone = [UUID(int=row["id"].int) for row in await self._database.run(RECENTLY_DEAD)]
        rows = await self._take_back(gone)
        if rows:
            self._publisher.soon(lambda: Changes([TaskChange.from_row(row) for row in rows]))
        for row in rows:
            verdict = "sent_again" if row["status"] in ("pending", "retry") else row["status"]
            metrics.RESCUED.labels(verdict).inc()
            if row["ran"]:
                metrics.CRASHED.labels(row["queue"], row["name"], verdict).inc()
            if row["status"] in FINAL:
                self._tally.add(row["queue"], row["name"], row["status"])
        await self._empty_unacked_sets(gone)
        return len(rows) >= BATCH

    async def _take_back(self, gone: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
        """Take back a batch of tasks that no living worker holds."""
        if time.monotonic() < self._orphans_at + ORPHANS_EVERY_S:
            return await self._database.run(RESCUE_FROM, workers=gone, **VERDICT) if gone else []
        rows = await self._database.run(RESCUE_ORPHANS, **VERDICT)
        if len(rows) < BATCH:
            self._orphans_at = time.monotonic()
        return rows

    async def _empty_unacked_sets(self, gone: Sequence[UUID]) -> None:
        """Comes last, so that a death of this process repeats it. The dispatcher pushes what is due now."""
        for worker in gone:
            fetched = await self._queues.unacked(worker)
            if fetched:
                await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(fetched))
                # Not the whole set: a frozen worker that woke up may have fetched more meanwhile.
                await self._queues.acknowledge(worker, fetched)
