"""Faults of the drill in which Postgres answers with errors: it is read-only, its disk is full, it
cancels statements, or transactions conflict.
"""

import asyncio

import asyncpg

from tests.drill.crew import Crew
from tests.drill.database import WHOLE_TABLE, Database
from tests.drill.fault import Fault, fault
from tests.eventually import eventually

PROMISED_S = 5.0
READ_ONLY_S = 8.0
FULL_S = 12.0
REFILL_S = 0.2
CANCEL_S = 10.0
#: Settings of a round of canceling statements: the table is locked for `CAUGHT_S` seconds before
#: the first cancellation, which is followed by `CANCELS` cancellations without a lock,
#: `CANCEL_EVERY_S` seconds apart.
CAUGHT_S, CANCELS, CANCEL_EVERY_S = 0.1, 10, 0.02
#: Minimum number of canceled statements in the log of Postgres. With fewer, the fault would prove
#: nothing.
CANCELED_AT_LEAST = 20
CANCELED = b"canceling statement due to user request"
STRICT_S = 10.0
CHANGED_S = 4.0
#: An ALTER TABLE gives up waiting for its lock after this time, and is tried again later, so that
#: other statements do not queue up behind it.
DDL_LOCK_TIMEOUT = "500ms"


def read_only(name: str, *, seconds: float, cut: bool) -> Fault:
    """Create a fault that makes the database read-only. With `cut`, every session is ended first,
    so that no session can write. Otherwise, sessions that exist already can.
    """

    @fault(
        f"Postgres read-only, {seconds:g} s, {'all sessions cut' if cut else 'new sessions only'}",
        name=name,
        promised_s=PROMISED_S,
        parts="postgres api",
    )
    async def become_read_only(crew: Crew) -> str:
        async with crew.database.setting("default_transaction_read_only", "on", cut=cut):
            await asyncio.sleep(seconds)
            was_ready = await crew.visitor.is_ready()
        # Without `cut`, older sessions may still be able to write, so the API may rightly report
        # that it is ready.
        assert not (cut and was_ready), "/health/ready said ready"
        return f"/health/ready said {'' if was_ready else 'not '}ready"

    return become_read_only


@fault(f"disk full, {FULL_S:g} s", promised_s=PROMISED_S, small_disk=True)
async def disk_full(crew: Crew) -> None:
    ends = asyncio.get_running_loop().time() + FULL_S
    with crew.servers.disk.filled() as fill:
        while asyncio.get_running_loop().time() < ends:
            fill()
            await asyncio.sleep(REFILL_S)


@fault(f"statements canceled for {CANCEL_S:g} s", promised_s=PROMISED_S, parts="postgres")
async def cancelled_statements(crew: Crew) -> str:
    log = crew.servers.postgres.log
    before = log.read_bytes().count(CANCELED)
    ends = asyncio.get_running_loop().time() + CANCEL_S
    async with crew.database.connected() as connection:
        while asyncio.get_running_loop().time() < ends:
            # Most statements take only a millisecond and are hard to catch. Statements that wait
            # for this lock are canceled for certain.
            async with crew.database.held(WHOLE_TABLE):
                await asyncio.sleep(CAUGHT_S)
                await crew.database.cancel(connection)
            for _ in range(CANCELS):
                await asyncio.sleep(CANCEL_EVERY_S)
                await crew.database.cancel(connection)
    canceled = log.read_bytes().count(CANCELED) - before
    assert canceled >= CANCELED_AT_LEAST, f"only {canceled} statements were canceled"
    return f"{canceled} of them"


@fault("every transaction serializable, for the whole run", promised_s=PROMISED_S)
async def serializable(crew: Crew) -> None:
    strict = crew.database.setting("default_transaction_isolation", "serializable", cut=True)
    await crew.closing.enter_async_context(strict)
    await asyncio.sleep(STRICT_S)


@fault("columns added to task and schedule, and dropped", promised_s=PROMISED_S, parts="postgres")
async def schema_change(crew: Crew) -> None:
    tables = ("schedule", "task")
    try:
        for table in tables:
            await _alter(crew.database, f"ALTER TABLE {table} ADD COLUMN drill text")
        await asyncio.sleep(CHANGED_S)
    finally:
        for table in tables:
            await _alter(crew.database, f"ALTER TABLE {table} DROP COLUMN IF EXISTS drill")


async def _alter(database: Database, statement: str) -> None:
    async with database.connected() as connection:
        await connection.execute(f"SET lock_timeout = '{DDL_LOCK_TIMEOUT}'")

        async def altered() -> bool:
            try:
                await connection.execute(statement)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                return False
            return True

        await eventually(altered, 60)


FAULTS = (
    read_only("read_only", seconds=READ_ONLY_S, cut=False),
    read_only("read_only_cut", seconds=READ_ONLY_S, cut=True),
    disk_full,
    cancelled_statements,
    serializable,
    schema_change,
)
