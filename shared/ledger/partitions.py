"""SQL for the daily partitions of `task` and of the other tables about single tasks.

A row belongs to the day of the time in the task's UUIDv7. There is no default partition, because
DETACH CONCURRENTLY does not work with one. The partitions of a day are therefore created well
ahead. When a day is dropped, its unfinished tasks are moved to the kept partition, which covers all
times before the oldest day. Tables are always found through the search path, because a database may
contain a second ledger in another schema.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from shared.ledger.ids import first_uuid7, moment_of
from shared.ledger.members import tasks_of_step

#: Names of the partitioned tables, each with the column that contains the task's id.
PARTITIONED = {"task": "id", "task_attempt": "task_id", "task_log": "task_id", "task_failure": "task_id"}
#: Number of days before and after today for which partitions are created. The day before covers
#: clocks that are slow, and the week ahead covers an outage of all schedulers. If tasks are kept
#: for 30 days, a table has at most 39 daily partitions (docs/decisions/0005) and the kept
#: partition.
DAYS_BACK, DAYS_AHEAD = 1, 7

_NAMES = ", ".join(f"'{table}'" for table in PARTITIONED)

#: Reads the names of all attached partitions, including the kept ones.
EXISTING = f"""
    SELECT child.relname AS name, parent.relname AS "table" FROM pg_inherits
    JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
    WHERE parent.oid IN (SELECT to_regclass(name) FROM unnest(ARRAY[{_NAMES}]) AS name)
"""

#: Reads which of today's partitions (in UTC) are missing. If one is missing, no task, attempt, log
#: line or failure can be stored in it.
MISSING_TODAY = f"""
    SELECT name FROM (
        SELECT parent || to_char(now() AT TIME ZONE 'UTC', '"_p"YYYYMMDD') AS name
        FROM unnest(ARRAY[{_NAMES}]) AS parent
    ) AS wanted
    WHERE NOT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(name) AND NOT inhdetachpending)
"""

#: Reads where the range of each kept partition ends. `low` is the first id after the range. The
#: kept partition contains unfinished tasks of days that were dropped.
KEPT = f"""
    SELECT replace(relname, '_kept', '') AS name,
           (regexp_match(pg_get_expr(relpartbound, oid), $$TO \\('([^']+)'\\)$$))[1]::uuid AS low
    FROM pg_class
    WHERE oid IN (SELECT to_regclass(name || '_kept') FROM unnest(ARRAY[{_NAMES}]) AS name)
"""

#: Reads all daily partitions with their state. "Pending" means that a partition is half detached:
#: queries no longer see it, and no other partition can be detached until this is completed.
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
    """The smallest id that a task of this day (in UTC) can have."""
    return first_uuid7(datetime.combine(day, time(), UTC))


def partition_name(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"


def missing(name: str) -> str:
    """Explain why nothing can be stored if a partition is missing, and what an operator can do."""
    return f"the partition {name} is missing; the leading scheduler creates it: start one, or read its log"


def day_of_id(task_id: UUID) -> date:
    """The day (in UTC) of the time that a task's id contains."""
    return moment_of(task_id).date()


def day_of(name: str) -> date:
    """The day of a daily partition, from the date in its name."""
    return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()


def kept_name(table: str) -> str:
    return f"{table}_kept"


def days_ahead(names: Collection[str], today: date) -> int:
    """Count the days after today for which all partitions are among `names`.

    Returns -1 if a partition of today is missing.
    """
    days = (today + timedelta(days=ahead) for ahead in itertools.count())
    complete = itertools.takewhile(
        lambda day: all(partition_name(t, day) in names for t in PARTITIONED), days
    )
    return sum(1 for _ in complete) - 1


def days_needed(today: date) -> list[date]:
    return [today + timedelta(days=n) for n in range(-DAYS_BACK, DAYS_AHEAD + 1)]


def as_owner(*, local: bool) -> str:
    """SQL that takes the role of the tables' owner, because only the owner may alter tables.

    With `local`, it applies to the transaction, otherwise to the session. It works for the owner
    itself, for members of its role, and for a superuser.
    """
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('task')"
    return f"SELECT set_config('role', ({owner}), {str(local).lower()})"


def create(table: str, day: date) -> Iterator[str]:
    """Yield the SQL statements that add one daily partition. In one transaction, they leave nothing
    behind if one of them fails.

    CREATE LIKE and the CHECK come before ATTACH, so that ATTACH neither scans the new table nor
    blocks writers of the partitioned table. A table that an earlier release has created but not
    attached is attached now, and may lack the CHECK.
    """
    name, column = partition_name(table, day), PARTITIONED[table]
    low, high = floor_id(day), floor_id(day + timedelta(days=1))
    bounds = f"{column} >= '{low}'::uuid AND {column} < '{high}'::uuid"
    check = f"CONSTRAINT {name}_day CHECK ({bounds})"
    yield f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL, {check})"
    yield attach(table, day)
    yield f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {name}_day"


def attach(table: str, day: date) -> str:
    low, high = floor_id(day), floor_id(day + timedelta(days=1))
    name = partition_name(table, day)
    return f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"


def detach(table: str, day: date) -> str:
    """SQL that detaches a daily partition while claims and submissions continue.

    It must be run outside any transaction.
    """
    return f"ALTER TABLE {table} DETACH PARTITION {partition_name(table, day)} CONCURRENTLY"


def finish_detaching(table: str, day: date) -> str:
    """SQL that completes the detaching of a partition after `detach` was interrupted."""
    return f"ALTER TABLE {table} DETACH PARTITION {partition_name(table, day)} FINALIZE"


def prepare_kept(table: str, day: date) -> Iterator[str]:
    """Yield SQL statements that prove that the kept partition ends before the end of this day.

    None of them blocks for long. With this proof, `attach_kept` does not have to read the rows
    while it holds a lock on the table.
    """
    kept, constraint = kept_name(table), _below(table, day)
    yield f"ALTER TABLE {kept} DROP CONSTRAINT IF EXISTS {kept}_end, ADD {constraint} NOT VALID"
    yield f"ALTER TABLE {kept} VALIDATE CONSTRAINT {kept}_end"


def create_kept(table: str, day: date) -> str:
    return f"CREATE TABLE {kept_name(table)} (LIKE {table} INCLUDING ALL, {_below(table, day)})"


def detach_kept(table: str) -> str:
    """SQL that detaches the kept partition.

    Run it only in the transaction that attaches the partition again.
    """
    return f"ALTER TABLE {table} DETACH PARTITION {kept_name(table)}"


def attach_kept(table: str, day: date) -> Iterator[str]:
    """Yield SQL statements that extend the kept partition up to the end of this day."""
    kept, high = kept_name(table), floor_id(day + timedelta(days=1))
    yield f"ALTER TABLE {table} ATTACH PARTITION {kept} FOR VALUES FROM (MINVALUE) TO ('{high}')"
    yield f"ALTER TABLE {kept} DROP CONSTRAINT {kept}_end"


def _below(table: str, day: date) -> str:
    high = floor_id(day + timedelta(days=1))
    return f"CONSTRAINT {kept_name(table)}_end CHECK ({PARTITIONED[table]} < '{high}'::uuid)"


def drop(names: Iterable[str]) -> str:
    """SQL that drops detached partitions, either all or none of them."""
    return f"DROP TABLE {', '.join(names)}"


def count_alive(day: date) -> str:
    """SQL that counts the tasks of a day that must be kept when the day is dropped.

    It works whether or not the partition is attached.
    """
    counts = [f"(SELECT count(*) {rows})" for rows in living(partition_name("task", day))]
    return f"SELECT {' + '.join(counts)} AS alive"


def living(partition: str) -> Iterator[str]:
    """Yield FROM and WHERE clauses that together select the tasks that must be kept.

    No task is selected by two of them, and each uses only an index. An unfinished task is in one
    place (`send_at`, `sent_at` or `holder`), and each place has its own index. All tasks of an
    unfinished workflow are kept, because later steps read their results.
    """
    for place in ("send_at", "sent_at", "holder"):
        yield f"FROM {partition} AS t WHERE t.{place} IS NOT NULL"
    yield (
        "FROM workflow AS w JOIN workflow_step AS s ON s.workflow = w.id "
        f"CROSS JOIN {tasks_of_step(partition)} WHERE w.completed_at IS NULL AND t.completed_at IS NOT NULL"
    )


def count_alive_and_all(day: date) -> str:
    """Like `count_alive`, with the additional column `found`: the number of all tasks of the day.

    This statement reads every row of the day.
    """
    return f"{count_alive(day)}, (SELECT count(*) FROM {partition_name('task', day)}) AS found"
