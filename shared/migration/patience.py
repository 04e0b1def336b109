"""Tries a statement again while another session holds its lock, and says which session that is.

A statement that waits for a strong lock stops every statement behind it, so a migration waits briefly, lets
the others pass, and tries again later.
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

#: Pause between two look-ups of the session that holds the lock.
LOOK_S = 0.25
#: A long wait is logged this often.
REPORT_S = 10.0
#: The statement gave up its lock request, or Postgres chose it as the victim of a deadlock.
PASSING = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

#: values: the waiting session's process id.
BLOCKERS = """
    SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS name, state,
           extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::int AS seconds,
           left(regexp_replace(query, '\\s+', ' ', 'g'), 80) AS query
    FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids($1)) ORDER BY xact_start
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """How a migration waits for locks."""

    #: Claims and submissions wait behind a waiting statement for this long at most. In a deadlock the
    #: migration gives up first: Postgres looks for a victim after 1 s (`deadlock_timeout`).
    lock_timeout_s: float = 0.8
    #: A statement that holds a strong lock for longer is canceled: it scans or rewrites the table.
    brief_s: float = 3.0
    #: Tries go on for this long.
    limit_s: float = 600.0
    #: Pause after the first try; it doubles with each further one, up to the second number.
    first_pause_s: float = 0.5
    max_pause_s: float = 10.0


#: The patience of `make migrate`.
PATIENCE = Patience()


@dataclass(slots=True)
class Holders:
    """Who kept the migration waiting, in words."""

    seen: str = "a session that has ended meanwhile"


class Waiter:
    """Waits on behalf of one session; looks at it over connections of its own."""

    def __init__(self, engine: PostgresEngine, pid: int, patience: Patience) -> None:
        self._engine, self._pid, self.patience = engine, pid, patience

    async def patiently(self, what: str, attempt: Callable[[], Awaitable[None]]) -> None:
        """Await attempts until one gets its locks. Raises MigrationError when none does in time.

        An attempt is one transaction with a `lock_timeout`, so nothing is left of one that fails.
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
            log.warning("%s waits for %s; others go first, next try in %g s", what, holders.seen, pause_s)
            await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def watched(self, what: str) -> AsyncIterator[Holders]:
        """Note who holds what the session waits for, and log it when that takes long."""
        holders, done = Holders(), asyncio.Event()
        watch = asyncio.create_task(self._watch(what, holders, done))
        try:
            yield holders
        finally:
            done.set()
            await watch

    async def _watch(self, what: str, holders: Holders, done: asyncio.Event) -> None:
        """Nothing of this may stop the migration itself."""
        try:
            if not await _set_within(done, LOOK_S):
                connection = await self._engine.get_new_connection()
                try:
                    await self._look(connection, what, holders, done)
                finally:
                    await connection.close(timeout=1)
        except Exception:  # whatever fails here, the migration itself goes on
            log.warning("cannot look up what %s waits for", what, exc_info=True)

    async def _look(
        self, connection: asyncpg.Connection, what: str, holders: Holders, done: asyncio.Event
    ) -> None:
        next_report = time.monotonic() + REPORT_S
        while not done.is_set():
            if rows := await connection.fetch(BLOCKERS, self._pid):
                holders.seen = "; ".join(map(_described, rows))
            if rows and time.monotonic() > next_report:
                log.info("%s waits for %s", what, holders.seen)
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
