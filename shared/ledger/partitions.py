"""Daily partitions of `task`, `task_attempt` and `task_log`, cut by the time inside the task's UUIDv7.

There is no default partition (DETACH CONCURRENTLY refuses one), so days are made well ahead.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from shared.ledger.ids import first_uuid7

#: Partitioned table and the column that holds the task's id.
PARTITIONED = {"task": "id", "task_attempt": "task_id", "task_log": "task_id"}
#: One day back covers clocks that are behind, a week ahead covers a scheduler that is down. With 30 days that
#: are kept these are 39 partitions a table at most (docs/decisions/0005).
DAYS_BACK, DAYS_AHEAD = 1, 7

EXISTING = """
    SELECT child.relname AS name FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
    WHERE parent.relname IN ('task', 'task_attempt', 'task_log')
"""

#: Every partition by name, and whether it belongs to its table. A pending one was left half detached: queries
#: see it no more, and it stands in the way of others.
STATES = """
    SELECT child.relname AS name,
           CASE WHEN inhrelid IS NULL THEN 'detached' WHEN inhdetachpending THEN 'pending' ELSE 'attached' END
               AS state
    FROM pg_class child LEFT JOIN pg_inherits ON inhrelid = child.oid
    WHERE child.relkind = 'r' AND child.relnamespace = current_schema()::regnamespace
      AND child.relname ~ '^(task|task_attempt|task_log)_p[0-9]+$'
"""


def floor_id(day: date) -> UUID:
    """The smallest id that any task of this UTC day can have."""
    return first_uuid7(datetime.combine(day, time(), UTC))


def partition_name(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"


def day_of(name: str) -> date:
    """The day of the partition with this name."""
    return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()


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
    yield attach(table, day)
    yield f"ALTER TABLE {name} DROP CONSTRAINT {name}_day"


def attach(table: str, day: date) -> str:
    low, high = floor_id(day), floor_id(day + timedelta(days=1))
    name = partition_name(table, day)
    return f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"


def detach(table: str, day: date) -> str:
    """Outside any transaction. Claims and submissions go on meanwhile."""
    return f"ALTER TABLE {table} DETACH PARTITION {partition_name(table, day)} CONCURRENTLY"


def finish_detaching(table: str, day: date) -> str:
    """Takes up a `detach` that was interrupted."""
    return f"ALTER TABLE {table} DETACH PARTITION {partition_name(table, day)} FINALIZE"


def drop(names: Iterable[str]) -> str:
    """Partitions that are detached, all or none."""
    return f"DROP TABLE {', '.join(names)}"


def count_alive(day: date) -> str:
    """Those that are not final, whether the day's partition is attached or not.

    Each is in one place, and each place has an index that holds nothing else.
    """
    name = partition_name("task", day)
    indexed = ("send_at", "sent_at", "holder")
    counts = [f"(SELECT count(*) FROM {name} WHERE {place} IS NOT NULL)" for place in indexed]
    return f"SELECT {' + '.join(counts)} AS alive"


def count_alive_and_all(day: date) -> str:
    """As `count_alive`, and `found`: all of the day, which takes a look at every row."""
    return f"{count_alive(day)}, (SELECT count(*) FROM {partition_name('task', day)}) AS found"
