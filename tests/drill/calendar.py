"""Changes the database's daily partitions for the drill: the current day ends within seconds, and
another day is old enough to be dropped.
"""

from datetime import UTC, datetime, timedelta

from shared.ledger import partitions
from shared.ledger.ids import first_uuid7
from tests.platform import Platform

#: How long after the start of the drill the current day ends. It is enough to start the processes
#: and to submit half of the load.
AHEAD = timedelta(seconds=35)
OLD_DAYS, OLD_TASKS = 40, 20_000

#: SQL that inserts tasks of an old day. Its parameters are their age and their number.
FILL = """
    INSERT INTO task (id, name, type, contract_version, queue, priority, params, max_attempts, status,
                      completed_at)
    SELECT uuidv7({}::interval), 'sample.instant', 'sample', 1, 'default', 5, jsonb_build_object(), 1,
           'success', now()
    FROM generate_series(1, {})
"""


async def shift(platform: Platform) -> None:
    """Replace partitions so that the current day ends within seconds, and insert tasks that are
    forty days old.
    """
    now = datetime.now(UTC)
    border, tomorrow = first_uuid7(now + AHEAD), now.date() + timedelta(days=1)
    bounds = {
        now.date(): (partitions.floor_id(now.date()), border),
        tomorrow: (border, partitions.floor_id(tomorrow + timedelta(days=1))),
    }
    for table in partitions.PARTITIONED:
        await platform.rows(partitions.drop([partitions.partition_name(table, day) for day in bounds]))
        for day, (low, high) in bounds.items():
            name = partitions.partition_name(table, day)
            await platform.rows(
                f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"
            )
        for statement in partitions.create(table, now.date() - timedelta(days=OLD_DAYS)):
            await platform.rows(statement)
    await platform.rows(FILL, -timedelta(days=OLD_DAYS), OLD_TASKS)
    await platform.rows(f"CREATE TABLE border AS SELECT '{border}'::uuid AS id")


async def drop_last_day(platform: Platform) -> str:
    """Drop the partition of the last future day, so that the scheduler has to create it again.
    Returns its name.
    """
    last = max(await days(platform))
    day = partitions.day_of(last)
    await platform.rows(partitions.drop([partitions.partition_name(t, day) for t in partitions.PARTITIONED]))
    return last


async def days(platform: Platform) -> set[str]:
    """Names of the daily partitions of the table `task`."""
    names = {row["name"] for row in await platform.rows(partitions.EXISTING)}
    return {name for name in names if name.startswith("task_p")}


async def sides(platform: Platform) -> tuple[int, int]:
    """Number of tasks in the partition of the day that ends, and in that of the day that begins."""
    (row,) = await platform.rows(
        "SELECT count(*) FILTER (WHERE t.id < b.id) AS before, count(*) FILTER (WHERE t.id >= b.id) AS after "
        "FROM task AS t, border AS b"
    )
    return row["before"], row["after"]
