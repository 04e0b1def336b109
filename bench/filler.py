"""Fills a ledger with tasks that have ended, days ago, as fast as Postgres takes them."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta

import asyncpg

from shared.ledger import partitions
from shared.ledger.partitions import PARTITIONED

#: Days that are filled side by side.
CONNECTIONS = 2

#: Ended tasks, in the order of their ids, evenly over a span. $1: its begin, $2: its length in seconds,
#: $3: how many, $4: owners.
ENDED = """
    INSERT INTO task (id, name, type, queue, status, params, result, progress_current, claim, worker, attempt,
                      failures, max_attempts, created_at, claimed_at, started_at, completed_at,
                      execution_time_seconds, owner, revision)
    SELECT uuidv7(at - clock_timestamp()), 'email.send_welcome', 'email', 'email', 'success',
           jsonb_build_object('user_id', owner),
           jsonb_build_object('success', true, 'user_id', owner, 'email', 'g' || owner || '@often.example',
                              'template', 'welcome', 'sent_at', at, 'message', 'handed to the mail server',
                              'refused', '{}'::jsonb),
           100, 2, '019ab000-0000-7000-8000-000000000001', 2, 1, 5,
           at, at + interval '3 ms', at + interval '4 ms', at + interval '90 ms', 0.086, owner, 3
    FROM (
        SELECT $1::timestamptz + make_interval(secs => $2::float8 * n / $3::integer) AS at,
               1 + floor(random() * $4::integer)::bigint AS owner
        FROM generate_series(0, $3::integer - 1) AS n
    ) AS made
"""

#: Tasks of a day that wait for a moment months ahead. $1: the day's begin, $2: its length in seconds, $3: how
#: many.
_FILL_WAITING = """
    INSERT INTO task (id, name, type, queue, params, created_at, send_at)
    SELECT uuidv7(at - clock_timestamp()), 'email.send_welcome', 'email', 'email', '{"user_id": 1}', at,
           now() + interval '200 days'
    FROM (
        SELECT $1::timestamptz + make_interval(secs => $2::float8 * n / $3::integer) AS at
        FROM generate_series(0, $3::integer - 1) AS n
    ) AS made
"""

#: The failed attempt that each of a day's tasks had before. $1, $2: first id of the day and of the next.
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
    """Spread `count` ended tasks over these days; today's share lies between midnight and now.

    `rows` is the statement that makes them.

    Then the tables are vacuumed, known to the planner and on disk, as after a quiet night.
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
    """Spread `count` tasks that are not due over these past days."""
    connection = await asyncpg.connect(database_url)
    try:
        for day in days:
            await _make(connection, day)
            begin = datetime.combine(day, time(), UTC)
            await connection.execute(_FILL_WAITING, begin, 86_400.0, count // len(days))
    finally:
        await connection.close()
    await settle(database_url)


async def settle(database_url: str, *, analyze: bool = True) -> None:
    """Neither vacuum nor checkpoint is due after this.

    Without `analyze` the planner goes on with what it knew before.
    """
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"VACUUM (ANALYZE {analyze}) task, task_attempt")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def days_before(today: date, *, first: int, count: int) -> list[date]:
    """So many days, the oldest first; the last of them is `first` days ago."""
    return [today - timedelta(days=first + n) for n in reversed(range(count))]


async def _make(connection: asyncpg.Connection, day: date) -> None:
    """The day's partitions, unless they are there."""
    known = {row["name"] for row in await connection.fetch(partitions.EXISTING)}
    for table in PARTITIONED:
        if partitions.partition_name(table, day) not in known:
            for statement in partitions.create(table, day):
                await connection.execute(statement)
