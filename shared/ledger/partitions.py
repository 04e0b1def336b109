"""Daily partitions of `task`, `task_attempt` and `task_log`, cut by the time inside the task's UUIDv7.

There is no default partition (DETACH CONCURRENTLY refuses one), so days are made well ahead.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

#: Partitioned table and the column that holds the task's id.
PARTITIONED = {"task": "id", "task_attempt": "task_id", "task_log": "task_id"}
#: One day back covers clocks that are behind, two weeks ahead cover a scheduler that is down over holidays.
DAYS_BACK, DAYS_AHEAD = 1, 14

EXISTING = """
    SELECT child.relname AS name FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
    WHERE parent.relname IN ('task', 'task_attempt', 'task_log')
"""


def floor_id(day: date) -> UUID:
    """The smallest id that any task of this UTC day can have."""
    milliseconds = int(datetime.combine(day, time(), UTC).timestamp() * 1000)
    return UUID(int=milliseconds << 80)


def partition_name(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"


def days_needed(today: date) -> list[date]:
    return [today + timedelta(days=n) for n in range(-DAYS_BACK, DAYS_AHEAD + 1)]


def create(table: str, day: date) -> Iterator[str]:
    """Statements that add one partition, each safe to run again.

    CREATE LIKE and the CHECK come before ATTACH so that ATTACH neither scans nor blocks writers of the
    parent.
    """
    name, column = partition_name(table, day), PARTITIONED[table]
    low, high = floor_id(day), floor_id(day + timedelta(days=1))
    bounds = f"{column} >= '{low}'::uuid AND {column} < '{high}'::uuid"
    check = f"CONSTRAINT {name}_day CHECK ({bounds})"
    yield f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL, {check})"
    yield f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"
    yield f"ALTER TABLE {name} DROP CONSTRAINT {name}_day"
