"""Indexes of past days, by which lists search them.

A day that is over is hardly updated, so more indexes cost little there. Today's and yesterday's rows are
updated all the time, and each further index would slow that down.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from shared.ledger import partitions

#: Columns that an index covers, by the suffix of its name. Days before yesterday have all these indexes.
COVERED = {
    "name": "(name, id)",
    "queue": "(queue, id)",
    "status": "(status, id)",
    "params": "USING gin (params jsonb_path_ops)",
}

#: The indexes that there are; one that is not complete is the rest of an interrupted build.
INDEXES = """
    SELECT c.relname AS name, i.indisvalid AS complete
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('task'))
      AND c.relname ~ '^task_p[0-9]+_past_[a-z]+$'
"""

Rows = Iterable[Mapping[str, Any]]


def missing(existing: Rows, indexes: Rows, today: date) -> dict[str, list[str]]:
    """Names in COVERED that are missing, by partition, the newest first.

    `existing` are the rows of `partitions.EXISTING`, and `indexes` those of INDEXES.
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
    """Outside any transaction; neither readers nor writers wait."""
    return f"CREATE INDEX CONCURRENTLY {index_name(day, covered)} ON {day} {COVERED[covered]}"


def drop(name: str) -> str:
    """Outside any transaction."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


def note_failures(day: str) -> str:
    """Failures of a day that workers of a release without `task_failure` recorded."""
    return f"""
        INSERT INTO task_failure (task_id, name, queue, owner, fingerprint, failed_at)
        SELECT id, name, queue, owner, error_fingerprint, completed_at FROM {day} WHERE status = 'failure'
        ON CONFLICT DO NOTHING
    """


def _is_day(name: str) -> bool:
    return name != partitions.kept_name("task")
