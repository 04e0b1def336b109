"""Keeps this worker alive in the eyes of the others, and honest about what it holds.

Its row says that it exists, an advisory lock on a connection of its own that its process lives, its heartbeat
that it works. Every few seconds it compares Redis and the ledger with its memory and gives back what it does
not hold.
"""

import contextlib
import logging
import os
import platform
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.worker.claims.holdings import Holding, Holdings
from services.worker.clock import DatabaseClock
from shared.ledger import engine, statements
from shared.ledger.engine import RECORDER
from shared.transport.queues import CANCEL_CHANNEL, Queues

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
RECONCILE_S = 5.0

REGISTER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key) VALUES ({}, {}, {}, {}::text[], {}, {})
    ON CONFLICT (id) DO NOTHING
"""

#: No row in `beat` means that the rescuer has declared this worker dead.
HEARTBEAT = """
    WITH beat AS (
        UPDATE worker SET beat = beat + 1, heartbeat_at = now(), state = {}
        WHERE id = {} AND dead_at IS NULL RETURNING clock_timestamp() AS now
    )
    SELECT (SELECT now FROM beat) AS now,
        ARRAY(
            SELECT (id, cancel_requested_at) FROM task WHERE holder = {} AND cancel_requested_at IS NOT NULL
        ) AS cancelled
"""

STOPPED = "UPDATE worker SET stopped_at = now() WHERE id = {}"

HELD_IN_LEDGER = "SELECT id, claim FROM task WHERE holder = {}"

#: Rows that this worker holds in the ledger only: the answer to a claim was lost.
GIVE_BACK_FORGOTTEN = """
    UPDATE task AS t SET holder = NULL, send_at = now(),
        status = CASE WHEN t.status = 'started' THEN 'pending' ELSE t.status END, revision = t.revision + 1
    FROM unnest({}::uuid[], {}::integer[]) AS g(id, claim)
    WHERE t.id = g.id AND t.claim = g.claim AND (t.holder = {}) IS TRUE
"""


class Presence:
    """Row, lock and heartbeat of one worker process. Runs on the ledger loop."""

    def __init__(
        self,
        worker: UUID,
        database_url: str,
        queue_names: Sequence[str],
        holdings: Holdings,
        queues: Queues,
        clock: DatabaseClock,
        *,
        declared_dead: Callable[[], None],
        revoke: Callable[[Holding], None],
    ) -> None:
        self._worker = worker
        self._database_url = database_url
        self._queue_names = queue_names
        self._holdings = holdings
        self._queues = queues
        self._clock = clock
        self._declared_dead = declared_dead
        self._revoke = revoke
        self._lock_key = secrets.randbits(62)
        self._lock: asyncpg.Connection | None = None
        self._subscription: PubSub | None = None
        self.state = "running"

    async def register(self) -> None:
        """Take the lock, then write the row: a row without a lock would look like a death."""
        await self._take_lock()
        values = (
            platform.node(),
            os.getpid(),
            list(self._queue_names),
            self._holdings.threads,
            self._lock_key,
        )
        await engine.run(REGISTER, self._worker, *values, node=RECORDER)

    async def deregister(self) -> None:
        """After a drain: nothing of this worker is left to rescue."""
        await self.reconcile()
        await engine.run(STOPPED, self._worker, node=RECORDER)
        await self._queues.forget(self._worker)

    async def beat(self) -> None:
        """Renew heartbeat and lock; also learns for certain what is to be canceled."""
        # First: after a restart of Postgres this alone says that the process lives.
        await self._beat()
        await self._take_lock()

    async def _beat(self) -> None:
        (row,) = await engine.run(HEARTBEAT, self.state, self._worker, self._worker, node=RECORDER)
        if row["now"] is None:
            self._declared_dead()
            return
        self._clock.adjust(row["now"])
        for task_id, requested_at in row["cancelled"]:
            self._cancel(UUID(int=task_id.int), requested_at)

    async def _take_lock(self) -> None:
        if self._lock is not None and not self._lock.is_closed():
            return
        settings = engine.session_settings("worker-lock", 0) | {"tcp_keepalives_idle": "10"}
        async with engine.translated(), engine.timeout(engine.STATEMENT_TIMEOUT_S):
            connection = await asyncpg.connect(self._database_url, server_settings=settings)
            try:
                await connection.execute("SELECT pg_advisory_lock($1)", self._lock_key)
            except BaseException:
                connection.terminate()
                raise
        # Only now: a connection without the lock would count as alive and prove nothing.
        self._lock = connection

    async def hear_cancel(self) -> None:
        """Wait a second for a cancel request; one that is missed arrives with a heartbeat."""
        try:
            if self._subscription is None:
                self._subscription = self._queues.client.pubsub()
                await self._subscription.subscribe(CANCEL_CHANNEL)
            message = await self._subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
        except BaseException:
            await self.stop_listening()
            raise
        if message is None:
            return
        try:
            task_id = UUID(bytes=message["data"])
        except (TypeError, ValueError):
            log.warning("ignored a message on %s that is no task id: %.100r", CANCEL_CHANNEL, message["data"])
            return
        self._cancel(task_id)

    async def stop_listening(self) -> None:
        """Close the subscription; the next `hear_cancel` opens another one."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped

    def _cancel(self, task_id: UUID, requested_at: datetime | None = None) -> None:
        unstarted = self._holdings.cancel(task_id, requested_at)
        if unstarted is not None:
            self._revoke(unstarted)

    async def reconcile(self) -> None:
        """Give back what Redis or the ledger ascribes to this process and its memory does not know."""
        # Memory before and after: what is acknowledged meanwhile was known before.
        known = self._holdings.ids()
        stranded = await self._queues.unacked(self._worker) - known - self._holdings.ids()
        rows: list[dict[str, Any]] = await engine.run(HELD_IN_LEDGER, self._worker, node=RECORDER)
        held = {UUID(int=row["id"].int): row["claim"] for row in rows}
        forgotten = {i: claim for i, claim in held.items() if i not in known and i not in self._holdings}
        if forgotten:
            log.warning("%d tasks are held in the ledger only: given back", len(forgotten))
            ids = sorted(forgotten)
            values = (ids, [forgotten[i] for i in ids], self._worker)
            await engine.run(GIVE_BACK_FORGOTTEN, *values, node=RECORDER)
        if stranded:
            log.warning("%d fetched ids were stranded: given back", len(stranded))
            await engine.run(statements.UNCLAIMED_TO_POSTGRES, sorted(stranded), node=RECORDER)
            await self._queues.acknowledge(self._worker, stranded)
