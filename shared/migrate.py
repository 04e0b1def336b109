"""`python -m shared.migrate`: brings the database of DATABASE_URL up to date.

Piccolo runs the migrations of the ledger, of identity, and of the applications in OFTEN_APPLICATIONS, in this
order. Only one process migrates at a time.
"""

import asyncio
import sys
from typing import Any

from piccolo.apps.migrations.commands.forwards import forwards

import piccolo_conf

#: Advisory lock key: only one process may migrate at a time.
LOCK = 0x6F6674656E_02

#: Up to release 0.1 the accounts were part of the hotel application, whose Piccolo app was called `domain`.
#: The records move to the new names, so that no migration runs again.
MOVE_RECORDS = """
    UPDATE migration SET app_name = CASE
        WHEN name IN ('2026-11-22T12:00:00:000000', '2026-11-22T19:20:00:000000',
                      '2026-11-22T19:40:00:000000') THEN 'identity' ELSE 'hotel' END
    WHERE app_name = 'domain'
"""


async def migrate() -> None:
    """Wait for the lock, then run everything that has not run yet."""
    connection: Any = await piccolo_conf.DB.get_new_connection()
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK, timeout=None)
        if await connection.fetchval("SELECT to_regclass('migration')"):
            await connection.execute(MOVE_RECORDS)
        await forwards("all")
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(migrate())
    sys.exit(0)
