"""Runs the pending migrations over one connection, which also holds the migration lock."""

import asyncio
import contextlib
import io
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.commands.base import BaseMigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.engine.postgres import PostgresEngine

from shared.migration.patience import PATIENCE, Patience, Waiter
from shared.migration.session import timeouts

log = logging.getLogger(__name__)

#: Advisory lock key: only one process may migrate at a time.
LOCK = 0x6F6674656E_02
LOCK_EVERY_S = 1.0
#: Tries to take the migration lock without waiting for it. A session that waited inside a statement
#: would block CREATE INDEX CONCURRENTLY, which waits for the end of every statement.
TAKE_LOCK = "SELECT pg_try_advisory_lock($1) AS taken"
LOCK_HOLDER = """
    SELECT a.pid, a.application_name AS name, a.client_addr::text AS address, a.backend_start::text AS since
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = ($1::bigint >> 32)::oid AND l.objid = ($1::bigint & 4294967295)::oid
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: Setting that makes Postgres notice a vanished client within this interval. If a migration is
#: killed, its statement then ends and the lock is freed.
CLIENT_CHECK = "SET client_connection_check_interval = '2s'"

#: Until 2026-11, accounts were part of the hotel application, whose Piccolo app was called
#: `domain`. Its records are copied to the new names, so that no migration runs again. The old
#: records are kept, because after a rollback, `migrate` of the previous release looks for them.
COPY_RECORDS = """
    INSERT INTO migration (name, app_name, ran_on)
    SELECT name, app_name, ran_on FROM (
        SELECT name, ran_on, CASE
            WHEN name IN ('2026-11-22T12:00:00:000000', '2026-11-22T19:20:00:000000',
                          '2026-11-22T19:40:00:000000') THEN 'identity' ELSE 'hotel' END AS app_name
        FROM migration WHERE app_name = 'domain'
    ) AS former
    WHERE NOT EXISTS (
        SELECT 1 FROM migration AS known WHERE known.app_name = former.app_name AND known.name = former.name)
"""


class Runner:
    """Runs the pending migrations of all Piccolo apps.

    The engine must have a pool with one connection that is never reset, because the lock belongs to
    that connection.
    """

    def __init__(self, engine: PostgresEngine, patience: Patience = PATIENCE) -> None:
        assert engine.pool is not None
        self._engine, self._pool, self._patience = engine, engine.pool, patience

    async def run(self) -> None:
        """Run all pending migrations.

        Raises MigrationError if one stops. The next run then continues with that migration.
        """
        await self._take_lock()
        async with self._pool.acquire() as connection:
            await connection.execute(CLIENT_CHECK)
            pid = await connection.fetchval("SELECT pg_backend_pid()")
        self._waiter = Waiter(self._engine, pid, self._patience)
        piccolo = BaseMigrationManager()
        await piccolo.create_migration_table()
        async with self._pool.acquire() as connection:
            await connection.execute(COPY_RECORDS)
        for app in piccolo.get_sorted_app_names():
            await self._run_app(piccolo, app)

    async def _take_lock(self) -> None:
        reported = False
        async with self._pool.acquire() as connection:
            while not await connection.fetchval(TAKE_LOCK, LOCK):
                if not reported:
                    log.info(
                        "waiting for the migration lock: %s",
                        _holder(await connection.fetch(LOCK_HOLDER, LOCK)),
                    )
                reported = True
                await asyncio.sleep(LOCK_EVERY_S)

    async def _run_app(self, piccolo: BaseMigrationManager, app: str) -> None:
        folder = piccolo.get_app_config(app_name=app).resolved_migrations_folder_path
        known = piccolo.get_migration_modules(folder)
        missing = sorted(known.keys() - set(await Migration.get_migrations_which_ran(app_name=app)))
        if not missing:
            log.info("all migrations have run", extra={"app": app})
        for migration_id in missing:
            begun = time.monotonic()
            manager = await known[migration_id].forwards()
            what = getattr(manager, "description", "")
            fields = {"app": app, "migration": migration_id}
            log.info("%s: started", what, extra=fields)
            await self._run_migration(app, migration_id, manager)
            log.info("%s: done in %.1f s", what, time.monotonic() - begun, extra=fields)

    async def _run_migration(self, app: str, migration_id: str, manager: MigrationManager | None) -> None:
        """Run a migration and record that it has run.

        If the migration is one transaction, the record is part of it.
        """
        if manager is not None and not manager.wrap_in_transaction:
            with _silenced():
                await manager.run()
            await _record(app, migration_id)
            return

        async def in_one_transaction() -> None:
            async with self._engine.transaction():
                await _execute(self._engine, timeouts(self._patience.lock_timeout_s, 0))
                if manager is not None and not manager.fake:
                    with _silenced():
                        await manager.run()
                await _record(app, migration_id)

        await self._waiter.patiently(f"{app} {migration_id}", in_one_transaction)


async def _execute(engine: PostgresEngine, sql: str) -> None:
    transaction = engine.current_transaction.get()
    assert transaction is not None
    await transaction.connection.execute(sql)


async def _record(app: str, migration_id: str) -> None:
    await Migration.insert().add(Migration(name=migration_id, app_name=app))


@contextmanager
def _silenced() -> Iterator[None]:
    """Suppress the output of Piccolo, which would appear between the lines of the log."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _holder(rows: Iterable[asyncpg.Record | dict[str, Any]]) -> str:
    found = [f"session {r['pid']} ({r['name']}, {r['address']}, since {r['since']})" for r in rows]
    return f"another process migrates this database: {'; '.join(found) or 'it has just ended'}"
