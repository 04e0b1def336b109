"""Detects dead workers and takes back their tasks, so that other workers run them.

A worker holds an advisory lock in Postgres and renews a heartbeat in its row. It is dead if the
lock is free and the heartbeat has not changed for a whole lease. It is also dead if the heartbeat
has not changed for `stall_after`, even if the lock is held. Only changes that this process itself
has observed count, measured by its own monotonic clock. A restart of Postgres, which frees every
lock, or a change of leader therefore never makes a worker look dead.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.scheduler.former_workers import FormerWorkers
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
#: Lease in seconds: a worker is dead after its lock was free and its heartbeat unchanged for this
#: long. A living worker needs less time to renew both (1 s plus the time to connect).
LOCK_LEASE_S = 5.0
#: Lease in seconds for a worker that has continued without its lock, or whose lock this process has
#: never seen taken. It is longer because a restart of Postgres frees all locks, and a worker with a
#: busy interpreter may need this long to connect again.
UNSEEN_LEASE_S = 20.0
#: Interval of the search for tasks held by unknown workers, in seconds. The tasks of workers that
#: ended within the last hour are rescued in every round.
ORPHANS_EVERY_S = 10.0
#: Seconds of a round after which the remaining workers that ended are left to the next round. Most
#: rounds check none.
CHECK_FOR_S = 0.05
#: Maximum number of tasks that one statement rescues.
BATCH = 1_000

#: Parameters that all statements for rescuing tasks have in common.
VERDICT: Mapping[str, Any] = {
    "limit": BATCH,
    "crash_limit": CRASH_LIMIT,
    "crash_loop": ErrorKind.CRASH_LOOP,
    "message": f"its worker died {CRASH_LIMIT} times while it ran alone; retry it once the cause is fixed",
    "worker_died": ErrorKind.WORKER_DIED,
}

#: Reads the workers, and whether their advisory locks are taken. In pg_locks, an advisory lock on a
#: bigint key has the upper half of the key as classid, the lower half as objid, and objsubid 1.
#: Schedulers keep their connections open, so a new connection of a scheduler shows that connections
#: were cut, which also frees the locks of living workers. The time of the latest such connection is
#: therefore read too.
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
    RETURNING id, hostname, pid, release
""")


@dataclass(frozen=True, slots=True)
class LastSeen:
    """The last observed heartbeat and lock of a worker, and the times since which they have not
    changed.
    """

    beat: int
    locked: bool
    #: True if the lock was seen taken, and the worker has sent no heartbeat without the lock since
    #: then.
    was_locked: bool
    beat_since: float
    lock_free_since: float


class Watch:
    """Decides which workers are dead, from what this process has observed.

    It has no side effects and gets the current time as an argument.
    """

    def __init__(self, stall_after_s: float) -> None:
        self._stall_after_s = stall_after_s
        self._workers: dict[UUID, LastSeen] = {}
        #: Time of the first observation, by the database's clock.
        self._began_at: datetime | None = None
        self._schedulers_connected_at: datetime | None = None

    def restart(self) -> None:
        """Forget all observations.

        Called after a reconnect and a change of leader. A whole lease must then pass before a
        worker can be dead.
        """
        self._workers.clear()
        self._began_at = None

    def observe(self, workers: Sequence[Mapping[str, Any]], now: float) -> list[UUID]:
        """Record the state of all workers at the time `now`, and return those that are dead."""
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
            # A worker takes its lock before it writes its row. If it started after this process
            # began to observe, it is therefore certain that it had its lock.
            locked_since = self._began_at is not None and row["started_at"] > self._began_at
            return LastSeen(row["beat"], row["locked"], row["locked"] or locked_since, now, now)
        # The worker still sends heartbeats without its lock, so it has only lost the lock's
        # connection and needs time to take the lock again.
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


def _fields(worker: Mapping[str, Any]) -> dict[str, object]:
    host, release = worker["hostname"], worker["release"]
    return {"worker_id": str(worker["id"]), "host": host, "pid": worker["pid"], "release": release}


class Rescuer:
    """Background service of the leading scheduler that declares workers dead and rescues their
    tasks.
    """

    def __init__(self, database: Database, queues: Queues, tally: Tally, *, stall_after_s: float) -> None:
        self._database = database
        self._queues = queues
        self._publisher = Publisher(queues)
        self._tally = tally
        self._former = FormerWorkers(database)
        self._orphans_at = -ORPHANS_EVERY_S
        self.watch = Watch(stall_after_s)

    async def run_once(self) -> bool:
        """Find dead workers, rescue one batch of their tasks, and clean up their sets in Redis.

        Returns True if there may be more tasks to rescue.
        """
        try:
            return await self._rescue()
        except ServerUnavailable as error:
            if error.server == "Postgres":
                self.watch.restart()
            raise

    async def _rescue(self) -> bool:
        dead = self.watch.observe(await self._database.run(WORKERS), time.monotonic())
        if dead:
            declared = await self._database.run(DECLARE_DEAD, workers=sorted(dead))
            for worker in declared:
                log.warning("worker declared dead; its tasks are sent again", extra=_fields(worker))
            metrics.WORKERS_DECLARED_DEAD.inc(len(declared))
        await self._former.read()
        rows = await self._take_back()
        if rows:
            self._publisher.soon(lambda: Changes([TaskChange.from_row(row) for row in rows]))
        for row in rows:
            verdict = "sent_again" if row["status"] in ("pending", "retry") else row["status"]
            metrics.RESCUED.labels(verdict).inc()
            if row["ran"]:
                metrics.CRASHED.labels(row["queue"], row["name"], verdict).inc()
            if row["status"] in FINAL:
                self._tally.add(row["queue"], row["name"], row["status"])
        await self._empty_unacked_sets(self._former.dead)
        return len(rows) >= BATCH

    async def _take_back(self) -> Sequence[Mapping[str, Any]]:
        """Rescue a batch of tasks whose worker has ended or is unknown. Returns their rows."""
        rows = await self._take_back_from(await self._former.holding(self._former.just_dead))
        if time.monotonic() >= self._orphans_at + ORPHANS_EVERY_S:
            orphans = await self._database.run(RESCUE_ORPHANS, **VERDICT)
            if len(orphans) < BATCH:
                self._orphans_at = time.monotonic()
            rows += orphans
        return rows + await self._take_back_from_unsettled()

    async def _take_back_from_unsettled(self) -> list[dict[str, Any]]:
        """Rescue the tasks of workers that ended and may still hold some, one worker after the
        other. Returns the rows of the tasks.
        """
        rows: list[dict[str, Any]] = []
        ends = time.monotonic() + CHECK_FOR_S
        for worker in self._former.unsettled:
            if await self._former.check(worker):
                rows += await self._take_back_from([worker.id])
            if time.monotonic() > ends or len(rows) >= BATCH:
                break
        return rows

    async def _take_back_from(self, workers: Sequence[UUID]) -> list[dict[str, Any]]:
        return await self._database.run(RESCUE_FROM, workers=workers, **VERDICT) if workers else []

    async def _empty_unacked_sets(self, dead: Sequence[UUID]) -> None:
        """Return to Postgres the ids that dead workers had fetched from Redis but not claimed.

        Their tasks become due again, so the dispatcher pushes them. Then the ids are removed from
        the workers' unacked sets. This is the last step of a round: if this process dies before it,
        the next leader repeats the round.
        """
        for worker in dead:
            fetched = await self._queues.unacked(worker)
            if fetched:
                await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(fetched))
                # Remove only the ids that were read above. A worker that was frozen and woke up may
                # have fetched more in the meantime.
                await self._queues.acknowledge(worker, fetched)
