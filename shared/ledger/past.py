"""SQL for additional indexes of past days, by which lists of tasks are searched.

The tasks of a past day rarely change, so additional indexes cost little there. The rows of today
and yesterday change constantly, and each additional index would slow this down.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from shared.ledger import partitions

#: Columns of each additional index, by the suffix of its name. Each day before yesterday gets all
#: of these indexes.
COVERED = {
    "name": "(name, id)",
    "queue": "(queue, id)",
    "status": "(status, id)",
    "params": "USING gin (params jsonb_path_ops)",
}

#: Reads which additional indexes exist. An index that is not complete was left by an interrupted
#: CREATE INDEX.
INDEXES = """
    SELECT c.relname AS name, i.indisvalid AS complete
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('task'))
      AND c.relname ~ '^task_p[0-9]+_past_[a-z]+$'
"""

Rows = Iterable[Mapping[str, Any]]


def missing(existing: Rows, indexes: Rows, today: date) -> dict[str, list[str]]:
    """Find the additional indexes that are missing.

    The result has the keys of COVERED by partition, newest partition first. `existing` are the rows
    of the query `partitions.EXISTING`, and `indexes` those of INDEXES.
    """
    yesterday = partitions.partition_name("task", today - timedelta(days=1))
    complete = {row["name"] for row in indexes if row["complete"]}
    days = [row["name"] for row in existing if row["table"] == "task" and _is_day(row["name"])]
    lacking = {
        day: [covered for covered in COVERED if index_name(day, covered) not in complete]
        for day in sorted(days, reverse=True)
        if day < yesterday
    }
    return {day: names for day, names in lacking.items() if names}


def index_name(day: str, covered: str) -> str:
    return f"{day}_past_{covered}"


def create(day: str, covered: str) -> str:
    """SQL that builds an index without blocking readers or writers.

    It must be run outside any transaction.
    """
    return f"CREATE INDEX CONCURRENTLY {index_name(day, covered)} ON {day} {COVERED[covered]}"


def drop(name: str) -> str:
    """SQL that drops an index. It must be run outside any transaction."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


def note_failures(day: str) -> str:
    """SQL that adds missing rows to `task_failure`, the table of failed tasks.

    Workers of a release without this table did not write them.
    """
    return f"""
        INSERT INTO task_failure (task_id, name, queue, owner, fingerprint, failed_at)
        SELECT id, name, queue, owner, error_fingerprint, completed_at FROM {day} WHERE status = 'failure'
        ON CONFLICT DO NOTHING
    """


def _is_day(name: str) -> bool:
    return name != partitions.kept_name("task")
