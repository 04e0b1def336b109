"""SQL statements by which bulk operations change many tasks or workflows at once.

`operate` has the statements for a single task. The given ids are those of one chunk. Rows are
locked in the order of their ids, so that operations on the same tasks wait for each other but
cannot deadlock. Rows that no longer match are not changed; the caller counts them.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending
from shared.ledger.transitions.operate import LAST_ATTEMPT, begin_again

#: Reopens tasks that failed or were canceled. Tasks of workflows are left out, because they can
#: only be retried together with their workflow. Returns the changed tasks.
RETRY_MANY = Ending(
    given="""
        ended AS (
            SELECT * FROM task
            WHERE id = ANY(:id::uuid[]) AND status IN ('failure', 'revoked') AND workflow IS NULL
            ORDER BY id FOR UPDATE
        ),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    begins_again=True,
    answer=f"SELECT {CHANGED} FROM applied",
)

RELEASE_MANY = Ending(
    given="""
        ended AS (
            SELECT * FROM task
            WHERE id = ANY(:id::uuid[]) AND status = 'failure' AND error_kind = :crash_loop
              AND workflow IS NULL
            ORDER BY id FOR UPDATE
        ),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    begins_again=True,
    answer=f"SELECT {CHANGED} FROM applied",
)

#: Cancels tasks, as `operate.CANCEL` does with a single one. Waiting tasks are canceled
#: immediately. If a worker holds a task, the request is stored and the worker will see it.
CANCEL_MANY = Ending(
    given="""
        unfinished AS (
            SELECT id FROM task
            WHERE id = ANY(:id::uuid[]) AND status IN ('pending', 'started', 'retry')
            ORDER BY id FOR UPDATE
        ),
    """,
    update="""
        UPDATE task AS t SET
            cancel_requested_at = coalesce(t.cancel_requested_at, now()),
            status = CASE WHEN t.holder IS NULL THEN 'revoked' ELSE t.status END,
            completed_at = CASE WHEN t.holder IS NULL THEN now() END,
            send_at = NULL, sent_at = NULL, revision = t.revision + 1
        FROM unfinished WHERE t.id = unfinished.id
    """,
    answer=f"SELECT {CHANGED}, holder FROM applied",
)

#: Starts delayed tasks and retries now, as `operate.RUN_NOW` does with a single one.
RUN_MANY_NOW = Statement(f"""
    WITH waiting AS (
        SELECT id AS waiting_id FROM task WHERE id = ANY(:id::uuid[]) AND send_at > now()
        ORDER BY id FOR UPDATE
    )
    UPDATE task AS t SET send_at = now(), wait_reason = NULL, claim = t.claim + 1, revision = t.revision + 1
    FROM waiting WHERE t.id = waiting_id
    RETURNING {CHANGED}
""")

#: Changes the queue and the priority of waiting tasks, as `operate.EDIT` does with a single one.
#: Null leaves a value unchanged.
CHANGE_MANY = Statement(f"""
    WITH waiting AS (
        SELECT id AS waiting_id FROM task
        WHERE id = ANY(:id::uuid[]) AND (send_at IS NOT NULL OR sent_at IS NOT NULL)
        ORDER BY id FOR UPDATE
    )
    UPDATE task AS t SET queue = coalesce(:queue::text, t.queue),
        priority = coalesce(:priority::smallint, t.priority), send_at = greatest(now(), t.send_at),
        sent_at = NULL, wait_reason = NULL, claim = t.claim + 1, revision = t.revision + 1
    FROM waiting WHERE t.id = waiting_id
    RETURNING {CHANGED}
""")

#: Requests the cancellation of workflows, as `workflow.REQUEST_CANCEL` does with a single one. A
#: workflow whose cancellation was already requested is left out, because a second request would
#: also cancel the steps that always run. Returns the ids of the workflows.
CANCEL_WORKFLOWS = Statement("""
    INSERT INTO workflow_event (workflow, kind)
    SELECT id, 'cancel' FROM workflow
    WHERE id = ANY(:id::uuid[]) AND completed_at IS NULL AND cancel_requested_at IS NULL
    RETURNING workflow AS id
""")
