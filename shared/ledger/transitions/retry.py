"""Retries of workflows: what the API notes under the workflow's lock, and how tasks of steps begin again.

`services.api.workflows.retries` accepts a retry: it locks the workflow (HOLD), chooses steps, and appends an
event for each (NOTE_AGAIN). The next advance applies the events: a *mended* step's tasks that did not succeed
begin again at once (MEND), a *repeated* step waits again and all its tasks begin again when it is its turn
(REPEAT). Only there does a task that succeeded ever run again.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.ending import Ending
from shared.ledger.transitions.operate import LAST_ATTEMPT, begin_again

#: Locks a workflow until the transaction ends, and says whether it may still go on. An advance skips it
#: meanwhile, and another retry waits. What follows must be read by later statements, which see what the
#: holder before has committed.
HOLD = Statement("""
    SELECT status, completed_at IS NULL AND (cancels > 0 OR late OR stopped) AS halted
    FROM workflow WHERE id = :id FOR NO KEY UPDATE
""")

#: Events of a workflow that are not applied yet, in sum.
PENDING_EVENTS = Statement("""
    SELECT step, kind, sum(succeeded)::int AS succeeded, sum(failed)::int AS failed,
           sum(revoked)::int AS revoked
    FROM workflow_event WHERE workflow = :id GROUP BY step, kind
""")

#: Tasks that some steps of a workflow have: all, and those that did not succeed.
TASKS_OF_STEPS = Statement("""
    SELECT step, count(*)::int AS tasks, count(*) FILTER (WHERE status IN ('failure', 'revoked'))::int AS lost
    FROM task WHERE workflow = :id AND step = ANY(:steps::text[]) GROUP BY step
""")

#: The inputs that some steps read from other steps: a JSON text of `Input`s by step.
INPUTS_OF_STEPS = Statement("""
    SELECT name AS step, inputs::text AS inputs FROM workflow_step
    WHERE workflow = :id AND name = ANY(:steps::text[]) AND inputs IS NOT NULL
""")

#: The single task of a step as it was stored, and what it reads.
PARAMS_OF_STEP = Statement("""
    SELECT s.grouped, s.contract, w.owner, t.id, t.name, t.contract_version, t.params::text AS params,
           t.inputs::text AS inputs
    FROM workflow_step AS s JOIN workflow AS w ON w.id = s.workflow LEFT JOIN task AS t ON t.id = s.task
    WHERE s.workflow = :id AND s.name = :step
""")

#: Replaces what a single task is to do when it begins again.
EDIT_STEP = Statement("""
    UPDATE workflow_step SET params = jsonb_build_array(:params::text::jsonb), inputs = :inputs::text::jsonb,
        key_id = :key_id, version = :version
    WHERE workflow = :id AND name = :step
""")

#: A workflow runs again, as its next run, with a fresh deadline of the same length.
RUN_AGAIN = Statement("""
    UPDATE workflow SET status = 'running', completed_at = NULL, cancels = 0, late = false, stopped = false,
        cancel_requested_at = NULL, run = run + 1, deadline_at = now() + make_interval(secs => deadline_s),
        moved_at = now(), revision = revision + 1
    WHERE id = :id
""")

#: Notes which steps a retry has chosen. `kinds`: repeat or mend.
NOTE_AGAIN = Statement("""
    INSERT INTO workflow_event (workflow, step, kind)
    SELECT :id, g.step, g.kind FROM unnest(:steps::text[], :kinds::text[]) AS g(step, kind)
""")

#: Tasks of steps that did not succeed begin again. Their ends are taken back by events, so it does not matter
#: whether the ends were applied. Returns the ids.
MEND = Ending(
    given="""
        ended AS (
            SELECT t.* FROM unnest(:workflow::uuid[], :step::text[]) AS g(workflow, step)
                JOIN task AS t ON t.workflow = g.workflow AND t.step = g.step
            WHERE t.status IN ('failure', 'revoked')
            ORDER BY t.id LIMIT :limit FOR UPDATE OF t
        ),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    reopens="ended",
    answer="SELECT id FROM applied",
)

#: All tasks of steps begin again, also those that succeeded, with the step's parameters where these were
#: edited. No event: the plan that lets the steps wait again has taken their counts back. Returns the ids.
REPEAT = Ending(
    given="""
        ended AS (
            SELECT t.*, s.delay_s, s.max_wait_s, s.params -> 0 AS new_params, s.inputs AS new_inputs,
                   s.key_id AS new_key_id, s.version AS new_version
            FROM unnest(:workflow::uuid[], :step::text[]) AS g(workflow, step)
                JOIN workflow_step AS s ON s.workflow = g.workflow AND s.name = g.step
                JOIN task AS t ON t.workflow = g.workflow AND t.step = g.step
            WHERE t.status IN ('success', 'failure', 'revoked')
            ORDER BY t.id FOR UPDATE OF t
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
    answer="SELECT id FROM applied",
)
