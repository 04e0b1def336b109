"""SQL for retries of workflows: what the API stores, and how the tasks of steps are reopened.

`services.api.workflows.retries` accepts a retry: it locks the workflow (HOLD), chooses steps, and
appends an event for each (NOTE_AGAIN). When the workflow is next advanced, these events are
applied. If a step is *mended*, its unsuccessful tasks are reopened immediately (MEND). If a step is
*repeated*, it waits for the steps before it again, and all its tasks are reopened when its turn
comes (REPEAT). This is the only way in which a task that succeeded runs again.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending
from shared.ledger.transitions.operate import LAST_ATTEMPT, begin_again

#: Locks a workflow until the transaction ends, and returns whether it may still change. In the
#: meantime, the workflow is not advanced, and another retry waits. Data that depends on the lock
#: must be read by later statements, which see what the previous holder of the lock has committed.
HOLD = Statement("""
    SELECT status, completed_at IS NULL AND (cancels > 0 OR late OR stopped) AS halted
    FROM workflow WHERE id = :id FOR NO KEY UPDATE
""")

#: Reads the sums of the counts in a workflow's events that are not applied yet.
PENDING_EVENTS = Statement("""
    SELECT step, kind, sum(succeeded)::int AS succeeded, sum(failed)::int AS failed,
           sum(revoked)::int AS revoked
    FROM workflow_event WHERE workflow = :id GROUP BY step, kind
""")

#: Reads the number of tasks of each given step, and how many of them did not succeed.
TASKS_OF_STEPS = Statement("""
    SELECT s.name AS step, t.tasks, t.lost
    FROM workflow_step AS s CROSS JOIN LATERAL (
        SELECT count(*)::int AS tasks,
               count(*) FILTER (WHERE status IN ('failure', 'revoked'))::int AS lost
        FROM task WHERE id BETWEEN s.task AND s.last_task
    ) AS t
    WHERE s.workflow = :id AND s.name = ANY(:steps::text[])
""")

#: Reads which parameters the given steps take from results of other steps, as a JSON text of
#: `Input`s for each step.
INPUTS_OF_STEPS = Statement("""
    SELECT name AS step, inputs::text AS inputs FROM workflow_step
    WHERE workflow = :id AND name = ANY(:steps::text[]) AND inputs IS NOT NULL
""")

#: Reads the stored parameters of a step with a single task, and which parameters it takes from
#: results of other steps.
PARAMS_OF_STEP = Statement("""
    SELECT s.grouped, s.contract, w.owner, t.id, t.name, t.contract_version, t.params::text AS params,
           t.inputs::text AS inputs
    FROM workflow_step AS s JOIN workflow AS w ON w.id = s.workflow
        LEFT JOIN task AS t ON t.id = s.task AND NOT s.grouped
    WHERE s.workflow = :id AND s.name = :step
""")

#: Replaces the parameters with which the single task of a step will be reopened.
EDIT_STEP = Statement("""
    UPDATE workflow_step SET params = jsonb_build_array(:params::text::jsonb), inputs = :inputs::text::jsonb,
        key_id = :key_id, version = :version
    WHERE workflow = :id AND name = :step
""")

#: Starts the next run of a workflow, with a new deadline of the same length.
RUN_AGAIN = Statement("""
    UPDATE workflow SET status = 'running', completed_at = NULL, cancels = 0, late = false, stopped = false,
        cancel_requested_at = NULL, run = run + 1, deadline_at = now() + make_interval(secs => deadline_s),
        moved_at = now(), revision = revision + 1
    WHERE id = :id
""")

#: Appends an event for each step that a retry of the workflow has chosen. `kinds` says for each
#: step whether it is repeated or mended.
NOTE_AGAIN = Statement("""
    INSERT INTO workflow_event (workflow, step, kind)
    SELECT :id, g.step, g.kind FROM unnest(:steps::text[], :kinds::text[]) AS g(step, kind)
""")

#: Reads the given steps in the order of the ids of their tasks. A statement that then locks the tasks
#: of one step after another, in the order of their ids, locks all of them in this order.
_IN_ORDER = """
    SELECT s.* FROM unnest(:workflow::uuid[], :step::text[]) AS g(workflow, step)
        JOIN workflow_step AS s ON s.workflow = g.workflow AND s.name = g.step
    ORDER BY s.task
"""

#: Reopens those tasks of the given steps that did not succeed. Events take their ends back, whether
#: or not the ends were already applied to the workflow. Returns the changed tasks.
MEND = Ending(
    given=f"""
        ended AS (
            SELECT t.* FROM ({_IN_ORDER}) AS s CROSS JOIN LATERAL (
                SELECT * FROM task
                WHERE id BETWEEN s.task AND s.last_task AND status IN ('failure', 'revoked')
                ORDER BY id FOR UPDATE
            ) AS t
            LIMIT :limit
        ),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    reopens="ended",
    answer=f"SELECT {CHANGED} FROM applied",
)

#: Reopens all tasks of the given steps, including those that succeeded. If the parameters of a step
#: were changed, its task gets them. No event is appended, because the counts of the steps were
#: already taken back when the steps were made to wait again. Returns the changed tasks.
REPEAT = Ending(
    given=f"""
        ended AS (
            SELECT t.*, s.delay_s, s.max_wait_s, s.params -> 0 AS new_params, s.inputs AS new_inputs,
                   s.key_id AS new_key_id, s.version AS new_version
            FROM ({_IN_ORDER}) AS s CROSS JOIN LATERAL (
                SELECT * FROM task
                WHERE id BETWEEN s.task AND s.last_task AND status IN ('success', 'failure', 'revoked')
                ORDER BY id FOR UPDATE
            ) AS t
        ),
    """,
    update=begin_again(
        due="now() + make_interval(secs => ended.delay_s)",
        expires="now() + make_interval(secs => ended.delay_s + ended.max_wait_s)",
        more="""
            params = coalesce(ended.new_params, t.params),
            inputs = CASE WHEN ended.new_params IS NULL THEN t.inputs ELSE ended.new_inputs END,
            key_id = CASE WHEN ended.new_params IS NULL THEN t.key_id ELSE ended.new_key_id END,
            contract_version = CASE WHEN ended.new_params IS NULL THEN t.contract_version
                                    ELSE ended.new_version END,
        """,
    ),
    closing=LAST_ATTEMPT,
    begins_again=True,
    answer=f"SELECT {CHANGED} FROM applied",
)
