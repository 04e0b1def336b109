"""Deletes final tasks one by one, where their day cannot be dropped as a whole."""

from shared.ledger.statement import Statement

#: Final rows of a day with their attempts and logs; a row that comes back to life meanwhile stays. `low` and
#: `high` are the first ids of the day and of the next. Returns how many tasks went.
DELETE_FINAL = Statement("""
    WITH doomed AS (
        SELECT id FROM task WHERE id >= :low AND id < :high AND num_nonnulls(send_at, sent_at, holder) = 0
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), attempts AS (
        DELETE FROM task_attempt AS a USING doomed
        WHERE a.task_id = doomed.id AND a.task_id >= :low AND a.task_id < :high
    ), logs AS (
        DELETE FROM task_log AS l USING doomed
        WHERE l.task_id = doomed.id AND l.task_id >= :low AND l.task_id < :high
    ), gone AS (
        DELETE FROM task AS t USING doomed WHERE t.id = doomed.id AND t.id >= :low AND t.id < :high
        RETURNING 1
    )
    SELECT count(*) FROM gone
""")
