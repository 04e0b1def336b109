"""What the erasure of an account does to its tasks: it cancels them, and takes out what they say.

Tasks that were erased stay for the statistics: kind, status, times and counts. The statements skip rows that
are locked; the erasure comes back to them.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.ending import Ending

#: The tasks of an account, in the order of their ids after `after`.
OWNED = Statement("SELECT id FROM task WHERE owner = :account AND id > :after ORDER BY id LIMIT :limit")

#: A stretch of all tasks, in the order of their ids after `after`: its last id, and the ids of those whose
#: parameters name the account. `fields` is a JSON object: the parameter by the name of the task. There is no
#: index of parameters, because each submission would pay for it.
NAMING = Statement("""
    WITH stretch AS (
        SELECT id, (params ->> (:fields::text::jsonb ->> name) = :account::bigint::text) IS TRUE AS names_it
        FROM task WHERE id > :after ORDER BY id LIMIT :limit
    )
    SELECT (SELECT id FROM stretch ORDER BY id DESC LIMIT 1) AS last,
           ARRAY(SELECT id FROM stretch WHERE names_it ORDER BY id) AS ids
""")

#: As `operate.CANCEL` for many tasks. Those named in `finish` are left alone once they are held or have
#: started.
CANCEL_ALL = Ending(
    given="""
        unfinished AS (
            SELECT id FROM task
            WHERE id = ANY(:id::uuid[]) AND (num_nonnulls(send_at, sent_at, holder) > 0) IS TRUE
              AND (holder IS NULL OR cancel_requested_at IS NULL)
              AND NOT (name = ANY(:finish::text[]) AND (attempt > 0 OR holder IS NOT NULL))
            ORDER BY id FOR UPDATE SKIP LOCKED
        ),
    """,
    update="""
        UPDATE task AS t SET
            cancel_requested_at = coalesce(t.cancel_requested_at, now()),
            status = CASE WHEN t.holder IS NULL THEN 'revoked' ELSE t.status END,
            completed_at = CASE WHEN t.holder IS NULL THEN now() END,
            send_at = NULL, sent_at = NULL, revision = t.revision + 1
        FROM unfinished
        WHERE t.id = unfinished.id AND t.status IN ('pending', 'started', 'retry')
    """,
)

#: Takes out what tasks that have ended say, and with it their log lines and the keys of their children.
#: Returns the ids of these tasks.
ERASE = Statement("""
    WITH ended AS MATERIALIZED (
        SELECT id FROM task
        WHERE id = ANY(:id::uuid[]) AND (num_nonnulls(send_at, sent_at, holder) = 0) IS TRUE
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), lines AS (
        DELETE FROM task_log AS l USING ended WHERE l.task_id = ended.id
    ), attempts AS (
        UPDATE task_attempt AS a SET error_message = NULL, error_traceback = NULL
        FROM ended WHERE a.task_id = ended.id
    ), failures AS (
        UPDATE task_failure AS f SET owner = nullif(f.owner, :account) FROM ended WHERE f.task_id = ended.id
    ), keys AS (
        DELETE FROM submission_key AS k USING ended WHERE k.scope = 'task:' || ended.id
    )
    UPDATE task AS t SET
        params = '{}', result = NULL, key_id = NULL, owner = nullif(t.owner, :account),
        error_message = NULL, error_traceback = NULL, progress_message = NULL, wait_reason = NULL,
        limit_key = NULL, unique_key = NULL, trace_context = NULL, revision = t.revision + 1
    FROM ended WHERE t.id = ended.id
    RETURNING t.id
""")

#: Keys under which the account's clients have submitted.
ERASE_KEYS = Statement("DELETE FROM submission_key WHERE scope = 'owner:' || :account::bigint")

#: Asks for the cancellation of the account's workflows. Their tasks end as its other tasks do. A workflow
#: waits while a task that `finish` names has begun: its cancellation would end that task.
CANCEL_WORKFLOWS = Statement("""
    INSERT INTO workflow_event (workflow, kind)
    SELECT w.id, 'cancel' FROM workflow AS w
    WHERE w.owner = :account AND w.completed_at IS NULL AND w.cancels = 0 AND NOT EXISTS (
        SELECT 1 FROM workflow_event AS e WHERE e.workflow = w.id AND e.kind = 'cancel'
    ) AND NOT EXISTS (
        SELECT 1 FROM task AS t
        WHERE t.workflow = w.id AND t.completed_at IS NULL AND t.name = ANY(:finish::text[])
          AND (t.attempt > 0 OR t.holder IS NOT NULL)
    )
""")

UNFINISHED_WORKFLOWS = Statement("""
    SELECT count(*)::int AS unfinished FROM workflow WHERE owner = :account AND completed_at IS NULL
""")

#: Takes out the parameters of tasks that never came to exist.
ERASE_STEPS = Statement("""
    UPDATE workflow_step AS s SET inputs = NULL, key_id = NULL, params = (
        SELECT coalesce(jsonb_agg('{}'::jsonb), '[]') FROM generate_series(1, s.size)
    )
    FROM workflow AS w WHERE w.owner = :account AND s.workflow = w.id AND s.params IS NOT NULL
""")
