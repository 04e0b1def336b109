"""Retries a statement of a migration until it gets its lock, and reports which sessions block it.

A statement that waits for a strong lock blocks every statement behind it. A migration therefore
waits only briefly, lets the other statements pass, and tries again later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg
from piccolo.engine.postgres import PostgresEngine

from shared.errors import MigrationError

log = logging.getLogger(__name__)

#: Interval in seconds at which a waiting migration looks up which sessions block it.
LOOK_S = 0.25
#: Minimum interval in seconds between two log lines about a long wait for a lock.
REPORT_S = 10.0
#: Errors after which a statement is tried again. It gave up waiting for its lock, or Postgres chose
#: it as the victim of a deadlock.
PASSING = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

#: Reads the sessions that block a waiting session. Placeholders: the process id of the waiting
#: session.
BLOCKERS = """
    SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name, state,
           extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::int AS seconds,
           left(regexp_replace(query, '\\s+', ' ', 'g'), 80) AS query
    FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids($1)) ORDER BY xact_start
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a migration waits for locks and may hold them."""

    #: Maximum time in seconds for which claims and submissions may be blocked behind a statement of
    #: a migration that waits for a lock. In a deadlock, the migration gives up first, because
    #: Postgres looks for a victim only after 1 s (`deadlock_timeout`).
    lock_timeout_s: float = 0.8
    #: Maximum time in seconds for which a statement may hold a strong lock. If it takes longer,
    #: because it scans or rewrites the table, it is canceled.
    brief_s: float = 3.0
    #: Number of seconds after which a statement is not tried again.
    limit_s: float = 600.0
    #: Pause in seconds after the first failed try. It doubles with each further try, up to the
    #: second number.
    first_pause_s: float = 0.5
    max_pause_s: float = 10.0


#: The limits that `make migrate` applies to waits for locks.
PATIENCE = Patience()


@dataclass(slots=True)
class Holders:
    """A text that describes the sessions which blocked the migration most recently."""

    seen: str = "a session that has ended meanwhile"


class Waiter:
    """Waits for the locks that one session needs, and finds the sessions that block it.

    It observes the session over separate connections.
    """

    def __init__(self, engine: PostgresEngine, pid: int, patience: Patience) -> None:
        self._engine, self._pid, self.patience = engine, pid, patience

    async def patiently(self, what: str, attempt: Callable[[], Awaitable[None]]) -> None:
        """Repeat an attempt until it gets its locks, at most for `limit_s` seconds.

        Raises MigrationError after that. An attempt is one transaction with a `lock_timeout`, so
        that a failed attempt leaves nothing behind.
        """
        patience, begun = self.patience, time.monotonic()
        for tries in count():
            async with self.watched(what) as holders:
                try:
                    await attempt()
                    return
                except PASSING as error:
                    waited_s = time.monotonic() - begun
                    if waited_s > patience.limit_s:
                        raise _gave_up(what, holders.seen, waited_s) from error
            pause_s = min(patience.first_pause_s * 2**tries, patience.max_pause_s)
            log.warning(
                "%s needs a lock that is held by %s; other statements go first, and the next try is in %g s",
                what,
                holders.seen,
                pause_s,
            )
            await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def watched(self, what: str) -> AsyncIterator[Holders]:
        """Remember which sessions hold the locks that this session waits for. Log long waits."""
        holders, done = Holders(), asyncio.Event()
        watch = asyncio.create_task(self._watch(what, holders, done))
        try:
            yield holders
        finally:
            done.set()
            await watch

    async def _watch(self, what: str, holders: Holders, done: asyncio.Event) -> None:
        """Observe the session while it waits.

        An error in this observation must not stop the migration.
        """
        try:
            if not await _set_within(done, LOOK_S):
                connection = await self._engine.get_new_connection()
                try:
                    await self._look(connection, what, holders, done)
                finally:
                    await connection.close(timeout=1)
        except Exception:  # Whatever fails in this observation, the migration itself continues
            log.warning(
                "cannot look up which session blocks %s; the migration continues", what, exc_info=True
            )

    async def _look(
        self, connection: asyncpg.Connection, what: str, holders: Holders, done: asyncio.Event
    ) -> None:
        next_report = time.monotonic() + REPORT_S
        while not done.is_set():
            if rows := await connection.fetch(BLOCKERS, self._pid):
                holders.seen = "; ".join(map(_described, rows))
            if rows and time.monotonic() > next_report:
                log.info("%s waits for a lock that is held by %s", what, holders.seen)
                next_report = time.monotonic() + REPORT_S
            await _set_within(done, LOOK_S)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _gave_up(what: str, holder: str, waited_s: float) -> MigrationError:
    return MigrationError(
        f"{what} got no lock in {waited_s:.0f} s; it waited for {holder}. Nothing of this step was changed. "
        "End that session or wait until it has ended, then run the migration again."
    )


def _described(row: asyncpg.Record) -> str:
    return f"session {row['pid']} ({row['name']}, {row['state']}, {row['seconds']} s: {row['query']})"
