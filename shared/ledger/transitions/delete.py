"""Deletes ended tasks one by one from the kept partition.

This partition contains tasks that were unfinished when their day was dropped. It is never dropped
as a whole.
"""

from shared.ledger.statement import Statement

#: Deletes tasks in the kept partition that ended before `ended_before`, with their attempts and log
#: lines, in the order of their ids after `after`. A task that was reopened is skipped, and so is
#: one whose workflow has not ended. Returns the number of deleted tasks and the last id.
DELETE_KEPT = Statement("""
    WITH doomed AS (
        SELECT id FROM task_kept
        WHERE id > :after AND completed_at < :ended_before AND num_nonnulls(send_at, sent_at, holder) = 0
          AND NOT EXISTS (
              SELECT 1 FROM workflow AS w WHERE w.id = task_kept.workflow AND w.completed_at IS NULL
          )
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    ), attempts AS (
        DELETE FROM task_attempt_kept AS a USING doomed WHERE a.task_id = doomed.id
    ), logs AS (
        DELETE FROM task_log_kept AS l USING doomed WHERE l.task_id = doomed.id
    ), failures AS (
        DELETE FROM task_failure_kept AS f USING doomed WHERE f.task_id = doomed.id
    ), gone AS (
        DELETE FROM task_kept AS t USING doomed WHERE t.id = doomed.id RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone) AS gone, (SELECT id FROM doomed ORDER BY id DESC LIMIT 1) AS last
""")
