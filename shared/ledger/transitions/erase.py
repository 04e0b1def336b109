"""SQL that cancels the tasks of an erased account and removes their contents.

Erased tasks remain for the statistics, with their kind, status, times and counts. The statements
skip locked rows, which the erasure visits again later.
"""

from shared.ledger.members import tasks_of_step
from shared.ledger.statement import Statement
from shared.ledger.transitions.ending import Ending

#: Reads the ids of an account's tasks, in the order of their ids after `after`.
OWNED = Statement("SELECT id FROM task WHERE owner = :account AND id > :after ORDER BY id LIMIT :limit")

#: Reads a range of the tasks of all accounts, in the order of their ids after `after`. Returns the
#: last id of the range, and the ids of the tasks whose parameters name the account. `fields` is a
#: JSON object that maps the name of a task to the parameter that names an account. There is no
#: index of parameters, because it would slow down each submission.
NAMING = Statement("""
    WITH stretch AS (
        SELECT id, (params ->> (:fields::text::jsonb ->> name) = :account::bigint::text) IS TRUE AS names_it
        FROM task WHERE id > :after ORDER BY id LIMIT :limit
    )
    SELECT (SELECT id FROM stretch ORDER BY id DESC LIMIT 1) AS last,
           ARRAY(SELECT id FROM stretch WHERE names_it ORDER BY id) AS ids
""")

#: SQL condition: the workflow whose id is in column `{}` has an unfinished step that is owed to a
#: customer, such as a refund.
_OWES = """EXISTS (
    SELECT FROM workflow_step AS s
    WHERE s.workflow = {} AND s.completed_at IS NULL AND s.contract = ANY(:owed::text[])
)"""

#: Cancels many tasks, as `operate.CANCEL` does with a single one. Tasks of the kinds in `finish`,
#: such as charges, are skipped once a worker holds them or they have started. Tasks of the kinds in
#: `owed`, such as refunds, are always skipped.
CANCEL_ALL = Ending(
    given="""
        unfinished AS (
            SELECT id FROM task
            WHERE id = ANY(:id::uuid[]) AND (num_nonnulls(send_at, sent_at, holder) > 0) IS TRUE
              AND (holder IS NULL OR cancel_requested_at IS NULL)
              AND NOT (name = ANY(:finish::text[]) AND (attempt > 0 OR holder IS NOT NULL))
              AND NOT name = ANY(:owed::text[])
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

#: Removes the contents of ended tasks, their log lines and the keys of their child tasks. If a
#: workflow has an unfinished step that is owed to a customer, its tasks are skipped, because that
#: step reads their results. Returns the ids of the erased tasks.
ERASE = Statement(f"""
    WITH ended AS MATERIALIZED (
        SELECT id FROM task
        WHERE id = ANY(:id::uuid[]) AND (num_nonnulls(send_at, sent_at, holder) = 0) IS TRUE
          AND NOT {_OWES.format("task.workflow")}
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), lines AS (
        DELETE FROM task_log AS l USING ended WHERE l.task_id = ended.id
    ), attempts AS (
        UPDATE task_attempt AS a SET error_message = NULL, error_traceback = NULL
        FROM ended WHERE a.task_id = ended.id
    ), failures AS (
        UPDATE task_failure AS f SET owner = nullif(f.owner, :account) FROM ended WHERE f.task_id = ended.id
    ), groups AS (
        UPDATE error_group AS g SET message = NULL FROM (
            SELECT e.fingerprint FROM error_group AS e JOIN ended ON e.sample_task = ended.id
            ORDER BY e.fingerprint FOR UPDATE OF e
        ) AS said WHERE g.fingerprint = said.fingerprint
    ), keys AS (
        DELETE FROM submission_key AS k USING ended WHERE k.scope = 'task:' || ended.id
    )
    UPDATE task AS t SET
        params = '{{}}', result = NULL, key_id = NULL, owner = nullif(t.owner, :account),
        error_message = NULL, error_traceback = NULL, progress_message = NULL, wait_reason = NULL,
        limit_key = NULL, unique_key = NULL, trace_context = NULL, revision = t.revision + 1
    FROM ended WHERE t.id = ended.id
    RETURNING t.id
""")

#: Deletes the idempotency keys under which clients of the account have submitted tasks.
ERASE_KEYS = Statement("DELETE FROM submission_key WHERE scope = 'owner:' || :account::bigint")

#: Requests the cancellation of the account's workflows, whose tasks then end like its other tasks.
#: A workflow is skipped while a task of a kind in `finish` is running, because the cancellation
#: would end that task. It is also skipped while it has an unfinished step that is owed to a
#: customer. Its other tasks are then canceled one by one, and the owed ones continue to their end.
CANCEL_WORKFLOWS = Statement(f"""
    INSERT INTO workflow_event (workflow, kind)
    SELECT w.id, 'cancel' FROM workflow AS w
    WHERE w.owner = :account AND w.completed_at IS NULL AND w.cancels = 0 AND NOT EXISTS (
        SELECT 1 FROM workflow_event AS e WHERE e.workflow = w.id AND e.kind = 'cancel'
    ) AND NOT EXISTS (
        SELECT 1 FROM workflow_step AS s CROSS JOIN {tasks_of_step()}
        WHERE s.workflow = w.id AND s.contract = ANY(:finish::text[]) AND t.completed_at IS NULL
          AND (t.attempt > 0 OR t.holder IS NOT NULL)
        OFFSET 0
    ) AND NOT {_OWES.format("w.id")}
""")

UNFINISHED_WORKFLOWS = Statement("""
    SELECT count(*)::int AS unfinished FROM workflow WHERE owner = :account AND completed_at IS NULL
""")

#: Removes the parameters of tasks of the account's workflows that were never created.
ERASE_STEPS = Statement("""
    UPDATE workflow_step AS s SET inputs = NULL, key_id = NULL, params = (
        SELECT coalesce(jsonb_agg('{}'::jsonb), '[]') FROM generate_series(1, s.size)
    )
    FROM workflow AS w WHERE w.owner = :account AND s.workflow = w.id AND s.params IS NOT NULL
""")
