"""Migrates the database of DATABASE_URL to this release: `python -m shared.migrate`.

It runs the migrations of the ledger, of identity, and of the applications in OFTEN_APPLICATIONS, in
this order, while the services continue to work. Then it grants the declared rights to the role of
each service. Only one process migrates at a time. An interrupted run can be repeated.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from piccolo.engine import engine_finder
from piccolo.engine.postgres import PostgresEngine

from shared import applications, settings
from shared.errors import MigrationError, ServerUnavailable, SettingsError
from shared.ledger import schema_check, sqlstate
from shared.ledger.grants import GRANTS
from shared.migration import grants
from shared.migration.runner import Runner
from shared.roles import Grants
from shared.telemetry.logging import configure

log = logging.getLogger(__name__)


async def migrate(engine: PostgresEngine, declared: Sequence[Grants]) -> None:
    """Run all pending migrations, then grant the services their rights.

    Raises MigrationError or ServerUnavailable.
    """
    # One connection holds the migration lock and runs all statements. If the process dies, Postgres
    # frees the lock as soon as the running statement has ended.
    await engine.start_connection_pool(min_size=0, max_size=1, max_inactive_connection_lifetime=0)
    try:
        await schema_check.check_server(engine)
        await Runner(engine).run()
        assert engine.pool is not None
        async with engine.pool.acquire() as connection:
            await grants.apply(connection, declared)
    except Exception as error:
        unavailable = sqlstate.unavailable(error)
        if unavailable is None or isinstance(error, ServerUnavailable):
            raise
        raise unavailable from error
    finally:
        await engine.close_connection_pool()


def main() -> int:
    try:
        known = settings.read(os.environ, needs=("database_url",))
        configure("migrate", known.log_format)
        declared = [GRANTS, *applications.grants(applications.find(known.applications))]
        engine = engine_finder()
    except SettingsError as error:
        sys.stderr.write(f"migrate: {error}\n")
        return 2
    assert isinstance(engine, PostgresEngine)
    try:
        asyncio.run(migrate(engine, declared))
    except (MigrationError, ServerUnavailable) as error:
        log.critical("migration stopped: %s", error)
        return 1
    except Exception:
        log.critical(
            "migration stopped after an unexpected error; fix the cause and run it again", exc_info=True
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
