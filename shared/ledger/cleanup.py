"""How the cleanup of old days passes from the task that asks for it to the leading scheduler, and back.

Only the owner of the tables may drop a day. Workers run the code of applications and are not the owner, so
the cleanup's body stores a request here, and the leader drops the days and stores what it has done.
"""

from dataclasses import dataclass, field

from shared.ledger.statement import Statement

#: Advisory lock key: only one cleanup may run at a time. Two would wait for each other's partitions.
LOCK = 0x6F6674656E_01


@dataclass
class Pruned:
    """What a cleanup did."""

    found: int = 0
    deleted: int = 0
    dropped: list[str] = field(default_factory=list)
    #: By name, why it stays.
    kept: dict[str, str] = field(default_factory=dict)


#: A task that starts again asks again.
REQUEST = Statement("""
    INSERT INTO cleanup_request (task, cutoff) VALUES (:task, :cutoff)
    ON CONFLICT (task) DO UPDATE
        SET cutoff = excluded.cutoff, requested_at = now(), seen_at = NULL, cancelled = false, result = NULL
""")
CANCEL = Statement("UPDATE cleanup_request SET cancelled = true WHERE task = :task")
WITHDRAW = Statement("DELETE FROM cleanup_request WHERE task = :task")
#: `silent_s` is the time since the leader was last seen at work, `seen` whether it ever was.
PROGRESS = Statement("""
    SELECT done, days, result::text AS result, seen_at IS NOT NULL AS seen,
           extract(epoch FROM now() - coalesce(seen_at, requested_at))::float8 AS silent_s
    FROM cleanup_request WHERE task = :task
""")

NEXT = Statement("""
    SELECT task, cutoff FROM cleanup_request WHERE result IS NULL ORDER BY requested_at LIMIT 1
""")
#: Returns whether the task was canceled; no row when it no longer asks.
WORKING = Statement("""
    UPDATE cleanup_request SET seen_at = now(), done = :done, days = :days
    WHERE task = :task RETURNING cancelled
""")
FINISH = Statement("UPDATE cleanup_request SET result = :result::text::jsonb WHERE task = :task")
