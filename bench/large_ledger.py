"""A database of ten million ended tasks of thirty days, for the benchmarks of reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from bench import filler
from bench.api import Api
from bench.stage import Stage
from shared.ledger import partitions, past
from tests.platform import Platform

TASKS, DAYS, TASKS_PER_OWNER = 10_000_000, 30, 100

#: SQL: inserts ended tasks like `filler.ENDED`, but one task in 997 has failed, and one in 100,000
#: has a rare name.
_ROWS = f"""
    INSERT INTO task (id, name, type, queue, status, params, progress_current, claim, worker, attempt,
                      max_attempts, created_at, claimed_at, started_at, completed_at, execution_time_seconds,
                      error_kind, error_message, error_fingerprint, owner, revision)
    SELECT uuidv7(at - clock_timestamp()),
           CASE WHEN n % 100003 = 50 THEN 'reports.build' ELSE names[1 + n % 20] END, 'email',
           CASE n % 3 WHEN 0 THEN 'email' ELSE 'default' END,
           CASE WHEN n % 997 = 5 THEN 'failure' ELSE 'success' END,
           jsonb_build_object('user_id', owner, 'template', 'welcome', 'to', owner || '@often.example'),
           100, 1, '019ab000-0000-7000-8000-000000000001', 1, 5,
           at, at + interval '3 ms', at + interval '4 ms', at + interval '90 ms', 0.086,
           CASE WHEN n % 997 = 5 THEN 'bug' END,
           CASE WHEN n % 997 = 5 THEN 'the mail server said ' || n END,
           CASE WHEN n % 997 = 5 THEN 'f' || n % 100 END, owner, 3
    FROM ({filler.SPREAD}) AS made,
         (SELECT array_agg('email.kind_' || i) AS names FROM generate_series(1, 20) AS i) AS known
"""
#: SQL: inserts statistics of 30 kinds of tasks, with outcomes in each minute of the last two days,
#: and in each whole hour of the last thirty.
_STATISTICS = """
    INSERT INTO {table} SELECT at, 'email', 'email.kind_' || kind, 'success', 9, 1, 1, 1,
        array_fill(1::bigint, ARRAY[12]), array_fill(1::bigint, ARRAY[11])
    FROM generate_series(date_trunc('{step}', now()) - interval '{first}', now() - interval '1 {step}',
                         interval '1 {step}') AS at,
         generate_series(1, 30) AS kind
"""


async def filled(stage: Stage) -> str:
    """Returns the URL of a database with `TASKS` tasks."""
    return await stage.filled("large ledger", lambda url: _fill(url, stage.count(TASKS)))


async def _fill(database_url: str, count: int) -> None:
    days = filler.days_before(datetime.now(UTC).date(), first=0, count=DAYS)
    await filler.fill(database_url, days, count, owners=count // TASKS_PER_OWNER, attempts=False, rows=_ROWS)
    await filler.index(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        for day in days[-2:]:  # the indexer has already noted the failed tasks of the earlier days
            await connection.execute(past.note_failures(partitions.partition_name("task", day)))
        for table, first, step in [("task_minute", "2 days", "minute"), ("task_hour", "30 days", "hour")]:
            await connection.execute(_STATISTICS.format(table=table, first=first, step=step))
        await connection.execute("VACUUM ANALYZE task_minute, task_hour, task_failure")
    finally:
        await connection.close()
    await filler.settle(database_url)


@asynccontextmanager
async def serving(stage: Stage) -> AsyncIterator[tuple[Platform, Api]]:
    """Run an API process on a ledger with `TASKS` tasks inside this context."""
    async with stage.platform(await filled(stage)) as platform:
        api = Api(platform)
        await api.start()
        yield platform, api
