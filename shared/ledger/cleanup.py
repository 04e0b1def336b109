"""Passes requests to delete old days of tasks from the cleanup task to the leading scheduler.

Only the owner of the tables may drop the partitions of a day. Workers run application code and
therefore do not have the rights of the owner. The cleanup task, which runs in a worker, stores a
request. The leading scheduler drops the days and stores the result in the request.
"""

from dataclasses import dataclass, field

from shared.ledger.statement import Statement

#: Advisory lock key: only one cleanup may run at a time, because two would wait for each other's
#: locks on partitions.
LOCK = 0x6F6674656E_01


@dataclass
class Pruned:
    """The result of one cleanup."""

    found: int = 0
    deleted: int = 0
    dropped: list[str] = field(default_factory=list)
    #: The reason why a partition was not dropped, by the name of the partition.
    kept: dict[str, str] = field(default_factory=dict)


#: Stores a cleanup request. If the cleanup task starts again, its request is replaced.
REQUEST = Statement("""
    INSERT INTO cleanup_request (task, cutoff) VALUES (:task, :cutoff)
    ON CONFLICT (task) DO UPDATE
        SET cutoff = excluded.cutoff, requested_at = now(), seen_at = NULL, cancelled = false, result = NULL
""")
CANCEL = Statement("UPDATE cleanup_request SET cancelled = true WHERE task = :task")
WITHDRAW = Statement("DELETE FROM cleanup_request WHERE task = :task")
#: Reads the progress of a cleanup request. `silent_s` is the time in seconds since the leading
#: scheduler last worked on it; `seen` says whether it ever did.
PROGRESS = Statement("""
    SELECT done, days, result::text AS result, seen_at IS NOT NULL AS seen,
           extract(epoch FROM now() - coalesce(seen_at, requested_at))::float8 AS silent_s
    FROM cleanup_request WHERE task = :task
""")

NEXT = Statement("""
    SELECT task, cutoff FROM cleanup_request WHERE result IS NULL ORDER BY requested_at LIMIT 1
""")
#: Stores the progress of a cleanup. Returns whether the cleanup task was canceled. Returns no row
#: if the task has withdrawn its request.
WORKING = Statement("""
    UPDATE cleanup_request SET seen_at = now(), done = :done, days = :days
    WHERE task = :task RETURNING cancelled
""")
FINISH = Statement("UPDATE cleanup_request SET result = :result::text::jsonb WHERE task = :task")
