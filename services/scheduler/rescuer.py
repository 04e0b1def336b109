"""Takes back what dead workers held.

Dead is a worker whose lock is free and whose heartbeat stands still for a whole lease, or whose heartbeat
stands still for `stall_after` although it holds its lock. Only what this process itself saw unchanged counts,
by its own monotonic clock, so that a restart of Postgres (which frees every lock) or a change of leader kills
nobody.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.errors import ServerUnavailable
from shared.ledger import engine, statements
from shared.ledger.lifecycle import CRASH_LIMIT, ErrorKind
from shared.telemetry import metrics
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

EVERY_S = 1.0
#: How long a free lock and a still heartbeat are watched. Longer than a worker takes to renew both (1 s +
#: connect).
LOCK_LEASE_S = 5.0
#: The same of a lock that was not taken since this process watches: a restart of Postgres frees all of them,
#: and a worker whose interpreter is busy needs this long to connect again.
UNSEEN_LEASE_S = 20.0
#: How often it is looked whether somebody holds tasks who is neither alive nor declared dead. What workers
#: held that were declared dead is looked for in every round.
STRAY_EVERY_S = 10.0
#: Rows per statement.
BATCH = 1_000

#: An advisory lock of one bigint key shows its halves as classid and objid, objsubid 1.
WORKERS = """
    SELECT w.id, w.beat, w.started_at, now() AS now, EXISTS (
        SELECT 1 FROM pg_locks AS l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND (l.classid::bigint << 32 | l.objid::bigint) = w.lock_key
    ) AS locked
    FROM worker AS w WHERE w.dead_at IS NULL AND w.stopped_at IS NULL
"""

DECLARE_DEAD = "UPDATE worker SET dead_at = now() WHERE id = ANY({}::uuid[]) AND dead_at IS NULL"

#: Level-triggered: every row whose holder is not a live worker, whenever it died. A suspect that was running
#: when its process died counts a crash; everything else that was held becomes a suspect and is blamed for
#: nothing yet. values: those of `lost`, then crash limit, crash limit, crash limit, error kind, crash limit,
#: error message, error kind of attempts.
_RESCUE = """
    WITH lost AS (%s
    ), rescued AS (
        UPDATE task AS t SET
            claim = t.claim + 1,
            holder = NULL,
            suspect = true,
            crashes = t.crashes + lost.crashed::int,
            interruptions = t.interruptions + (t.status = 'started' AND NOT lost.crashed)::int,
            status = CASE WHEN t.crashes + lost.crashed::int >= {} THEN 'failure'
                          WHEN t.cancel_requested_at IS NOT NULL THEN 'revoked'
                          WHEN t.status = 'started' THEN 'pending' ELSE t.status END,
            send_at = CASE WHEN t.crashes + lost.crashed::int < {} AND t.cancel_requested_at IS NULL
                           THEN now() END,
            completed_at = CASE WHEN t.crashes + lost.crashed::int >= {} OR t.cancel_requested_at IS NOT NULL
                                THEN now() END,
            error_kind = CASE WHEN t.crashes + lost.crashed::int >= {} THEN {} ELSE t.error_kind END,
            error_message = CASE WHEN t.crashes + lost.crashed::int >= {} THEN {} ELSE t.error_message END,
            revision = t.revision + 1
        FROM lost WHERE t.id = lost.id AND t.claim = lost.claim
        RETURNING t.id, t.claim, t.name, t.queue, t.priority, t.status, t.attempt, t.worker, t.started_at
    ), closed AS (
        INSERT INTO task_attempt (task_id, claim, attempt, worker, started_at, ended_at, outcome,
                                  execution_time_seconds, error_kind, error_message)
        SELECT r.id, lost.claim, r.attempt, r.worker, r.started_at, now(), 'crashed',
               extract(epoch FROM now() - r.started_at), {}, 'the worker process died while it ran this task'
        FROM rescued AS r JOIN lost USING (id) WHERE lost.status = 'started'
        ON CONFLICT DO NOTHING
    )
    SELECT r.id, r.name, r.queue, r.status, lost.status = 'started' AS ran
    FROM rescued AS r JOIN lost USING (id)
"""
_LOST = "SELECT t.id, t.claim, t.status, t.suspect AND t.status = 'started' AS crashed"
#: Held by an id between those of two living workers. What these hold is not looked at: until the next vacuum
#: the index has an entry for each task that they ever claimed. values: limit of each gap, then as above.
RESCUE_STRAY = (
    _RESCUE
    % f"""
        SELECT lost.* FROM (
            SELECT lag(id, 1, '00000000-0000-0000-0000-000000000000'::uuid) OVER (ORDER BY id) AS low,
                   id AS high
            FROM (
                SELECT id FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
                UNION ALL SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid
            ) AS living
        ) AS gap CROSS JOIN LATERAL (
            {_LOST} FROM task AS t WHERE t.holder > gap.low AND t.holder < gap.high
            LIMIT {{}} FOR UPDATE SKIP LOCKED
        ) AS lost"""
)
#: In no order: in that of their ids, all tasks of all days would be read.
#: values: holder[], limit, then as above.
RESCUE_FROM = (
    _RESCUE
    % f"""
        {_LOST}
        FROM task AS t LEFT JOIN worker AS w ON w.id = t.holder AND w.dead_at IS NULL AND w.stopped_at IS NULL
        WHERE t.holder = ANY({{}}::uuid[]) AND w.id IS NULL
        LIMIT {{}} FOR UPDATE OF t SKIP LOCKED"""
)

#: Workers that are gone and whose unacked set may still lie in Redis.
RECENTLY_DEAD = "SELECT id FROM worker WHERE dead_at > now() - interval '1 hour'"


@dataclass(frozen=True, slots=True)
class Sight:
    """What was last seen of a worker, and since when it has not changed."""

    beat: int
    locked: bool
    #: Once at least since the watch began.
    was_locked: bool
    beat_since: float
    lock_free_since: float


class Watch:
    """Decides from what one process saw; pure but for the clock that is handed in."""

    def __init__(self, stall_after_s: float) -> None:
        self._stall_after_s = stall_after_s
        self._seen: dict[UUID, Sight] = {}
        #: By the database's clock.
        self._began_at: datetime | None = None

    def restart(self) -> None:
        """Forget all: after a start, a reconnect or a change of leader one whole lease is watched anew."""
        self._seen.clear()
        self._began_at = None

    def observe(self, workers: Sequence[Mapping[str, Any]], now: float) -> list[UUID]:
        """Take a look; returns the workers that are dead by now."""
        if self._began_at is None and workers:
            self._began_at = workers[0]["now"]
        seen = {row["id"]: self._look(row, now) for row in workers}
        self._seen = seen
        return [worker for worker, sight in seen.items() if self._is_dead(sight, now)]

    def _look(self, row: Mapping[str, Any], now: float) -> Sight:
        before = self._seen.get(row["id"])
        still = before is not None and before.beat == row["beat"]
        free = before is not None and not before.locked and not row["locked"]
        # A worker takes its lock before it writes its row.
        locked_since = self._began_at is not None and row["started_at"] > self._began_at
        return Sight(
            row["beat"],
            row["locked"],
            row["locked"] or locked_since or (before is not None and before.was_locked),
            before.beat_since if before is not None and still else now,
            before.lock_free_since if before is not None and free else now,
        )

    def _is_dead(self, sight: Sight, now: float) -> bool:
        silent = now - sight.beat_since
        unlocked = 0.0 if sight.locked else now - sight.lock_free_since
        lease = LOCK_LEASE_S if sight.was_locked else UNSEEN_LEASE_S
        return silent >= self._stall_after_s or min(silent, unlocked) >= lease


class Rescuer:
    """Declares workers dead and sends their tasks again."""

    def __init__(self, queues: Queues, *, stall_after_s: float) -> None:
        self._queues = queues
        self._stray_at = -STRAY_EVERY_S
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
        dead = self.watch.observe(await engine.run(WORKERS), time.monotonic())
        if dead:
            log.warning("workers declared dead: %s", ", ".join(map(str, dead)))
            await engine.run(DECLARE_DEAD, sorted(dead))
            metrics.WORKERS_DECLARED_DEAD.inc(len(dead))
        gone = [UUID(int=row["id"].int) for row in await engine.run(RECENTLY_DEAD)]
        rows = await self._lost(gone)
        for row in rows:
            verdict = "sent_again" if row["status"] in ("pending", "retry") else row["status"]
            metrics.RESCUED.labels(verdict).inc()
            if row["ran"]:
                metrics.CRASHED.labels(row["queue"], row["name"], verdict).inc()
        await self._empty_unacked_sets(gone)
        return len(rows) >= BATCH

    async def _lost(self, gone: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
        """Send a batch of what nobody alive holds again."""
        limit, loop = CRASH_LIMIT, ErrorKind.CRASH_LOOP
        message = f"its worker died {limit} times while it ran alone; retry it once the cause is mended"
        values = (BATCH, limit, limit, limit, limit, loop, limit, message, ErrorKind.WORKER_DIED)
        if time.monotonic() < self._stray_at + STRAY_EVERY_S:
            return await engine.run(RESCUE_FROM, gone, *values) if gone else []
        rows = await engine.run(RESCUE_STRAY, *values)
        if len(rows) < BATCH:
            self._stray_at = time.monotonic()
        return rows

    async def _empty_unacked_sets(self, gone: Sequence[UUID]) -> None:
        """Last, so that a death of this process repeats the step. The dispatcher pushes what is due now."""
        for worker in gone:
            fetched = await self._queues.unacked(worker)
            if fetched:
                await engine.run(statements.UNCLAIMED_TO_POSTGRES, sorted(fetched))
                # Not the whole set: a frozen worker that woke up may have fetched more meanwhile.
                await self._queues.acknowledge(worker, fetched)
