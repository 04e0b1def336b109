"""Daily partitions of `task` and of what belongs to single tasks, cut by the time inside the task's UUIDv7.

There is no default partition (DETACH CONCURRENTLY refuses one), so days are made well ahead. Tasks of a
dropped day that are not final are in the kept partition, which covers everything below the oldest day.
Every look-up finds the tables by the search path: a database may hold a second ledger in another schema.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from shared.ledger.ids import first_uuid7, moment_of

#: Partitioned table and the column that holds the task's id.
PARTITIONED = {"task": "id", "task_attempt": "task_id", "task_log": "task_id", "task_failure": "task_id"}
#: One day back covers clocks that are behind, a week ahead covers a scheduler that is down. With 30 days that
#: are kept these are 39 days a table at most (docs/decisions/0005), and the kept partition.
DAYS_BACK, DAYS_AHEAD = 1, 7

_NAMES = ", ".join(f"'{table}'" for table in PARTITIONED)

#: Every attached partition, the kept ones among them.
EXISTING = f"""
    SELECT child.relname AS name, parent.relname AS "table" FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
    WHERE parent.oid IN (SELECT to_regclass(name) FROM unnest(ARRAY[{_NAMES}]) AS name)
"""

#: Partitions of today (UTC) that are missing: without them no task, attempt, log line or failure is stored.
MISSING_TODAY = f"""
    SELECT name FROM (
        SELECT parent || to_char(now() AT TIME ZONE 'UTC', '"_p"YYYYMMDD') AS name
        FROM unnest(ARRAY[{_NAMES}]) AS parent
    ) AS wanted
    WHERE NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(name) AND NOT inhdetachpending)
"""

#: How far the kept partitions reach: `low` is the first id that a table's days may hold.
KEPT = f"""
    SELECT replace(relname, '_kept', '') AS name,
           (regexp_match(pg_get_expr(relpartbound, oid), $$TO \\('([^']+)'\\)$$))[1]::uuid AS low
    FROM pg_class
    WHERE oid IN (SELECT to_regclass(name || '_kept') FROM unnest(ARRAY[{_NAMES}]) AS name)
"""

#: Every day's partition by name, and whether it belongs to its table. A pending one was left half detached:
#: queries no longer see it, and it keeps others from being detached.
STATES = f"""
    SELECT child.relname AS name,
           CASE WHEN inhrelid IS NULL THEN 'detached' WHEN inhdetachpending THEN 'pending' ELSE 'attached' END
               AS state
    FROM pg_class child LEFT JOIN pg_inherits ON inhrelid = child.oid
    WHERE child.relkind = 'r'
      AND child.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('task'))
      AND child.relname ~ '^({"|".join(PARTITIONED)})_p[0-9]+$'
"""


def floor_id(day: date) -> UUID:
    """The smallest id that any task of this UTC day can have."""
    return first_uuid7(datetime.combine(day, time(), UTC))


def partition_name(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"


def missing(name: str) -> str:
    """Why nothing can be stored, and what an operator can do about it."""
    return f"the partition {name} is missing; the leading scheduler creates it: start one, or read its log"


def day_of_id(task_id: UUID) -> date:
    """The UTC day that a task's id names."""
    return moment_of(task_id).date()


def day_of(name: str) -> date:
    """The day of the partition with this name."""
    return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()


def kept_name(table: str) -> str:
    return f"{table}_kept"


def days_ahead(names: Collection[str], today: date) -> int:
    """How many days after today have all their partitions among `names`; -1 when today itself has not."""
    days = (today + timedelta(days=ahead) for ahead in itertools.count())
    complete = itertools.takewhile(
        lambda day: all(partition_name(t, day) in names for t in PARTITIONED), days
    )
    return sum(1 for _ in complete) - 1


def days_needed(today: date) -> list[date]:
    return [today + timedelta(days=n) for n in range(-DAYS_BACK, DAYS_AHEAD + 1)]


def as_owner(*, local: bool) -> str:
    """Take the role of the tables' owner, which alone may change them, for the transaction or the session.

    It works for the owner itself, for its members and for a superuser.
    """
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('task')"
    return f"SELECT set_config('role', ({owner}), {str(local).lower()})"


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


def prepare_kept(table: str, day: date) -> Iterator[str]:
    """Statements that prove that all of the kept partition is below this day's end; none blocks for long.

    Thanks to that proof `attach_kept` need not read the rows while it has the table to itself.
    """
    kept, constraint = kept_name(table), _below(table, day)
    yield f"ALTER TABLE {kept} DROP CONSTRAINT IF EXISTS {kept}_end, ADD {constraint} NOT VALID"
    yield f"ALTER TABLE {kept} VALIDATE CONSTRAINT {kept}_end"


def create_kept(table: str, day: date) -> str:
    return f"CREATE TABLE {kept_name(table)} (LIKE {table} INCLUDING ALL, {_below(table, day)})"


def detach_kept(table: str) -> str:
    """Only inside the transaction that attaches it again."""
    return f"ALTER TABLE {table} DETACH PARTITION {kept_name(table)}"


def attach_kept(table: str, day: date) -> Iterator[str]:
    """Statements that let the kept partition cover everything up to the end of this day."""
    kept, high = kept_name(table), floor_id(day + timedelta(days=1))
    yield f"ALTER TABLE {table} ATTACH PARTITION {kept} FOR VALUES FROM (MINVALUE) TO ('{high}')"
    yield f"ALTER TABLE {kept} DROP CONSTRAINT {kept}_end"


def _below(table: str, day: date) -> str:
    high = floor_id(day + timedelta(days=1))
    return f"CONSTRAINT {kept_name(table)}_end CHECK ({PARTITIONED[table]} < '{high}'::uuid)"


def drop(names: Iterable[str]) -> str:
    """Partitions that are detached, all or none."""
    return f"DROP TABLE {', '.join(names)}"


def count_alive(day: date) -> str:
    """Those that must stay, whether the day's partition is attached or not."""
    counts = [f"(SELECT count(*) {rows})" for rows in living(partition_name("task", day))]
    return f"SELECT {' + '.join(counts)} AS alive"


def living(partition: str) -> Iterator[str]:
    """FROM and WHERE of the tasks `t` that must stay, in parts that share none. Indexes find all of them.

    Those that are not final are in one place each, and each place has an index that holds nothing else. Of
    an unfinished workflow all tasks stay, because later steps read their results.
    """
    for place in ("send_at", "sent_at", "holder"):
        yield f"FROM {partition} AS t WHERE t.{place} IS NOT NULL"
    yield (
        f"FROM workflow AS w JOIN {partition} AS t ON t.workflow = w.id AND t.workflow IS NOT NULL "
        "WHERE w.completed_at IS NULL AND t.completed_at IS NOT NULL"
    )


def count_alive_and_all(day: date) -> str:
    """As `count_alive`, and `found`: all of the day, which takes a look at every row."""
    return f"{count_alive(day)}, (SELECT count(*) FROM {partition_name('task', day)}) AS found"
