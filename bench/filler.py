"""Fills a database with tasks that ended on past days, as fast as Postgres allows."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta

import asyncpg

from local.postgres import SUPERUSER
from services.scheduler.indexer import Indexer
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.ledger.partitions import PARTITIONED
from tests.roles import as_role

#: Number of days whose tasks are inserted in parallel, each over its own connection.
CONNECTIONS = 2

#: SQL: selects times, evenly distributed over a period, each with a consecutive number and a random
#: owner. $1: start of the period; $2: its length in seconds; $3: number of times; $4: number of
#: owners.
SPREAD = """
        SELECT $1::timestamptz + make_interval(secs => $2::float8 * n / $3::integer) AS at, n,
               1 + floor(random() * $4::integer)::bigint AS owner
        FROM generate_series(0, $3::integer - 1) AS n
"""

#: SQL: inserts tasks that have ended, in the order of their ids.
ENDED = f"""
    INSERT INTO task (id, name, type, queue, status, params, result, progress_current, claim, worker, attempt,
                      failures, max_attempts, created_at, claimed_at, started_at, completed_at,
                      execution_time_seconds, owner, revision)
    SELECT uuidv7(at - clock_timestamp()), 'email.send_welcome', 'email', 'email', 'success',
           jsonb_build_object('user_id', owner),
           jsonb_build_object('success', true, 'user_id', owner, 'email', 'g' || owner || '@often.example',
                              'template', 'welcome', 'sent_at', at, 'message', 'handed to the mail server',
                              'refused', '{{}}'::jsonb),
           100, 2, '019ab000-0000-7000-8000-000000000001', 2, 1, 5,
           at, at + interval '3 ms', at + interval '4 ms', at + interval '90 ms', 0.086, owner, 3
    FROM ({SPREAD}) AS made
"""

#: SQL: inserts tasks that were created on a past day and that become due months from now.
_FILL_WAITING = f"""
    INSERT INTO task (id, name, type, queue, params, created_at, send_at)
    SELECT uuidv7(at - clock_timestamp()), 'email.send_welcome', 'email', 'email', '{{"user_id": 1}}', at,
           now() + interval '200 days'
    FROM ({SPREAD}) AS made
"""

#: SQL: inserts an earlier, failed attempt for each task of a day. $1 and $2 are the lowest task ids
#: of the day and of the next day.
_FILL_ATTEMPTS = """
    INSERT INTO task_attempt (task_id, claim, attempt, worker, started_at, ended_at, outcome,
                              execution_time_seconds, error_kind, error_message)
    SELECT id, 1, 1, worker, created_at, created_at + interval '1 s', 'retry', 0.9, 'expected',
           'the mail server is away'
    FROM task WHERE id >= $1 AND id < $2
"""


async def fill(
    database_url: str, days: list[date], count: int, *, owners: int, attempts: bool, rows: str = ENDED
) -> None:
    """Store `count` ended tasks, spread evenly over these days. Today's tasks are between midnight
    and now.

    `rows` is the SQL statement that inserts the tasks. Afterwards the tables are vacuumed, analyzed
    and written to disk, as after a quiet night.
    """
    free = asyncio.Semaphore(CONNECTIONS)

    async def fill_day(day: date) -> None:
        async with free:
            connection = await asyncpg.connect(database_url)
            try:
                await _make(connection, day)
                begin = datetime.combine(day, time(), UTC)
                span = min(timedelta(days=1), datetime.now(UTC) - begin)
                await connection.execute(rows, begin, span.total_seconds(), count // len(days), owners)
                if attempts:
                    low, high = partitions.floor_id(day), partitions.floor_id(day + timedelta(days=1))
                    await connection.execute(_FILL_ATTEMPTS, low, high)
            finally:
                await connection.close()

    async with asyncio.TaskGroup() as group:
        for day in days:
            group.create_task(fill_day(day))
    await settle(database_url)


async def fill_waiting(database_url: str, days: list[date], count: int) -> None:
    """Store `count` tasks that were created on these past days and that are not due for months."""
    connection = await asyncpg.connect(database_url)
    try:
        for day in days:
            await _make(connection, day)
            begin = datetime.combine(day, time(), UTC)
            await connection.execute(_FILL_WAITING, begin, 86_400.0, count // len(days), 1)
    finally:
        await connection.close()
    await settle(database_url)


async def index(database_url: str) -> None:
    """Build the indexes of past days now, so that no leader does it during the measurement."""
    database = Database.for_service(database_url, "bench-owner")
    await database.open(size=1)
    try:
        indexer = Indexer(database, lambda: None)
        while await indexer.run_once():
            pass
    finally:
        await database.close()


async def settle(database_url: str, *, analyze: bool = True) -> None:
    """Run VACUUM and CHECKPOINT now, so that Postgres does neither during the measurement.

    Without `analyze`, the query planner keeps its previous statistics.
    """
    # The superuser connects here, because the role that owns the tables may not run CHECKPOINT.
    connection = await asyncpg.connect(as_role(database_url, SUPERUSER))
    try:
        await connection.execute(f"VACUUM (ANALYZE {analyze}) task, task_attempt")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def days_before(today: date, *, first: int, count: int) -> list[date]:
    """Returns `count` consecutive days, oldest first. The last one is `first` days
    before `today`.
    """
    return [today - timedelta(days=first + n) for n in reversed(range(count))]


async def _make(connection: asyncpg.Connection, day: date) -> None:
    """Create the partitions for this day in all partitioned tables, unless they exist."""
    known = {row["name"] for row in await connection.fetch(partitions.EXISTING)}
    for table in PARTITIONED:
        if partitions.partition_name(table, day) not in known:
            for statement in partitions.create(table, day):
                await connection.execute(statement)
