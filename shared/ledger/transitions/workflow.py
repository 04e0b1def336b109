"""SQL that creates workflows and advances them: tasks of their steps begin or are canceled.

`shared.workflows.advance` runs LOCK, TAKE, APPLY and CANCEL_MEMBERS in one transaction, together
with the statements of `retry` that reopen tasks. Workflows are locked first, in the order of their
ids. Steps are written only while their workflow is locked, and a statement that ends a task waits
only for that task. Steps and tasks therefore need no common order of locks.
"""

from shared.ledger.members import id_of_member, tasks_of_step
from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending
from shared.ledger.transitions.submit import KEY_LIFE_H, PUSH_NET_S

#: Counts running workers of an older release, which appends no workflow events when tasks end. A
#: workflow with tasks on such a worker would wait forever.
OLDER_WORKERS = Statement("""
    SELECT count(*)::int AS workers FROM worker
    WHERE dead_at IS NULL AND stopped_at IS NULL AND protocol < :protocol
""")

#: Maximum number of spans of earlier steps to which a task of a traced workflow is linked.
MAX_LINKS = 32
#: Number of characters of a `traceparent`. The last characters of a trace context are a
#: `traceparent`.
TRACEPARENT_CHARS = 55

#: SQL expression for the trace context of the tasks of step `m` of workflow `w`. No spans are
#: searched for if the workflow is not traced.
_TRACE_CONTEXT = f"""
    CASE WHEN w.trace_context IS NOT NULL THEN 'link ' || coalesce((
        SELECT string_agg(right(p.trace_context, {TRACEPARENT_CHARS}), ' ') FROM (
            SELECT t.trace_context FROM workflow_step AS s CROSS JOIN {tasks_of_step()}
            WHERE s.workflow = m.workflow AND s.name = ANY(m.needs) AND t.trace_context IS NOT NULL
            LIMIT {MAX_LINKS}
        ) AS p
    ), w.trace_context) END
"""

#: CTEs that reserve an idempotency key of a client for a new workflow.
_WON = f"""
    won AS (
        INSERT INTO submission_key AS k (scope, key, body_hash, task_ids)
        SELECT :scope::text, :key::text, :body_hash::bytea, ARRAY[:id::uuid]
        ON CONFLICT (scope, key) DO UPDATE
            SET body_hash = excluded.body_hash, task_ids = excluded.task_ids, created_at = now()
            WHERE k.created_at < now() - interval '{KEY_LIFE_H} h'
        RETURNING 1
    ), is_new AS (SELECT 1 FROM won)
"""
_IS_NEW = "is_new AS (SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM workflow WHERE id = :id::uuid))"


def _submit(is_new: str) -> Statement:
    return Statement(f"""
    WITH {is_new}, taken AS (
        INSERT INTO workflow_key (name, key, workflow)
        SELECT :name::text, :unique::text, :id::uuid FROM is_new WHERE :unique::text IS NOT NULL
        ON CONFLICT (name, key) DO NOTHING RETURNING 1
    ), is_free AS (
        SELECT 1 FROM is_new WHERE :unique::text IS NULL OR EXISTS (SELECT 1 FROM taken)
    ), flow AS (
        INSERT INTO workflow (id, name, status, owner, on_failure, unique_key, deadline_s, deadline_at,
                              open_steps, parent, schedule, fire_time, trace_context)
        SELECT :id::uuid, :name::text, 'running', :owner::bigint, :on_failure::text, :unique::text,
               :deadline_s::float8, now() + make_interval(secs => :deadline_s), :open_steps::integer,
               :parent::uuid, :schedule::text, :fire_time::timestamptz, :trace_context::text
        FROM is_free
        ON CONFLICT (id) DO NOTHING RETURNING 1
    ), steps AS (
        INSERT INTO workflow_step (
            workflow, name, position, needs, next, rule, k, size, enough, first, handler, sink, grouped,
            contract, version, queue, priority, max_attempts, delay_s, max_wait_s, params, inputs, key_id
        )
        SELECT :id::uuid, s.name, s.position, s.needs, s.next, s.rule, s.k, s.size, s.enough, s.first,
               s.handler, s.sink, s.grouped, s.contract, s.version, s.queue, s.priority, s.max_attempts,
               s.delay_s, s.max_wait_s, s.params, s.inputs, s.key_id
        FROM flow CROSS JOIN jsonb_to_recordset(:steps::text::jsonb) AS s(
            name text, position integer, needs text[], next text[], rule text, k integer, size integer,
            enough integer, first boolean, handler boolean, sink boolean, grouped boolean, contract text,
            version smallint, queue text, priority smallint, max_attempts smallint, delay_s float8,
            max_wait_s float8, params jsonb, inputs jsonb, key_id text
        )
    )
    SELECT EXISTS (SELECT 1 FROM is_new) AS new, EXISTS (SELECT 1 FROM is_free) AS free,
           EXISTS (SELECT 1 FROM flow) AS stored
""")


#: Stores a workflow and its steps, which wait until the workflow is advanced. `new` is false if a
#: workflow with this id exists, and `free` is false if an unfinished workflow has the unique key.
#: `stored` is also false if another process stored this id first. Unless all three are true, the
#: caller has to roll back, because the unique key may have been stored without its workflow.
SUBMIT_WORKFLOW = _submit(_IS_NEW)

#: Stores a workflow like SUBMIT_WORKFLOW, under an idempotency key. `new` is false if the key is
#: taken.
SUBMIT_WORKFLOW_ONCE = _submit(_WON)

#: Reads the id of the unfinished workflow that has a unique key.
UNIQUE_HOLDER = Statement("SELECT workflow FROM workflow_key WHERE name = :name AND key = :key")

#: Locks the given workflows, except those that another process is advancing, and returns the
#: columns of `shared.workflows.states.Flow`. It uses the weakest kind of lock that only one
#: transaction can hold.
LOCK = Statement("""
    SELECT id, on_failure, open_steps, losses, cancels, late, stopped FROM workflow
    WHERE id = ANY(:id::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")

_STEPS = """
    json_agg(json_build_object(
        'workflow', s.workflow, 'name', s.name, 'position', s.position, 'needs', s.needs, 'next', s.next,
        'rule', s.rule, 'k', s.k, 'size', s.size, 'enough', s.enough, 'first', s.first,
        'handler', s.handler, 'sink', s.sink, 'state', s.state, 'begun', s.started_at IS NOT NULL,
        'succeeded', s.succeeded, 'failed', s.failed, 'revoked', s.revoked
    ))::text
"""

#: Deletes and returns the events of locked workflows, and reads the steps that these may affect:
#: the steps of the events, the steps that need them, and the steps that those need. This is a
#: separate statement, because its snapshot must be taken after the lock. Returns two JSON texts,
#: which are null if there is nothing.
TAKE = Statement(f"""
    WITH gone AS (
        DELETE FROM workflow_event WHERE workflow = ANY(:id::uuid[])
        RETURNING workflow, step, kind, succeeded, failed, revoked
    ), news AS (
        SELECT workflow, step, kind, count(*) AS events, sum(succeeded) AS succeeded, sum(failed) AS failed,
               sum(revoked) AS revoked
        FROM gone GROUP BY workflow, step, kind
    ), named AS (
        SELECT DISTINCT s.workflow, s.name, s.next
        FROM news AS n JOIN workflow_step AS s ON s.workflow = n.workflow AND s.name = n.step
    ), following AS (
        SELECT DISTINCT s.workflow, s.name, s.needs
        FROM named AS n JOIN workflow_step AS s ON s.workflow = n.workflow AND s.name = ANY(n.next)
    ), near AS (
        SELECT workflow, name FROM named UNION SELECT workflow, name FROM following
        UNION SELECT f.workflow, n.name FROM following AS f CROSS JOIN LATERAL unnest(f.needs) AS n(name)
    )
    SELECT (SELECT json_agg(news)::text FROM news) AS news,
           (SELECT {_STEPS} FROM near JOIN workflow_step AS s USING (workflow, name)) AS steps
""")

#: Reads all steps of the given workflows as one JSON text.
ALL_STEPS = Statement(f"SELECT {_STEPS} AS steps FROM workflow_step AS s WHERE s.workflow = ANY(:id::uuid[])")

#: Writes the new states of workflows and steps, and stores the tasks of steps that begin for the
#: first time. Tasks of steps that begin again were reopened by `retry.REPEAT`. `steps` and `flows`
#: are JSON texts. Returns the new tasks, and whether each one may start immediately.
APPLY = Statement(f"""
    WITH moved AS (
        UPDATE workflow_step AS s SET
            state = g.state, succeeded = g.succeeded, failed = g.failed, revoked = g.revoked,
            params = CASE WHEN NOT (g.released OR g.repeated) THEN s.params END,
            task = CASE
                WHEN NOT g.released OR s.size = 0 THEN s.task
                WHEN s.grouped THEN {id_of_member("g.new_id", "0")}
                ELSE g.new_id
            END,
            last_task = CASE
                WHEN NOT g.released OR s.size = 0 THEN s.last_task
                WHEN s.grouped THEN {id_of_member("g.new_id", "s.size - 1")}
                ELSE g.new_id
            END,
            started_at = CASE WHEN g.released OR g.repeated THEN now() ELSE s.started_at END,
            completed_at = CASE WHEN NOT g.open THEN coalesce(s.completed_at, now()) END
        FROM (
            SELECT *, CASE WHEN released THEN uuidv7() END AS new_id
            FROM jsonb_to_recordset(:steps::text::jsonb) AS r(
                workflow uuid, name text, state text, succeeded integer, failed integer, revoked integer,
                open boolean, released boolean, repeated boolean
            )
        ) AS g
        WHERE s.workflow = g.workflow AND s.name = g.name
        RETURNING s.*, old.params AS given, g.released
    ), flows AS (
        UPDATE workflow AS w SET
            status = g.status, open_steps = g.open_steps, losses = g.losses, cancels = g.cancels,
            late = g.late, stopped = g.stopped, revision = w.revision + 1,
            moved_at = now(),
            cancel_requested_at = CASE WHEN g.cancels > 0 THEN coalesce(w.cancel_requested_at, now()) END,
            completed_at = CASE WHEN g.status <> 'running' THEN coalesce(w.completed_at, now()) END
        FROM jsonb_to_recordset(:flows::text::jsonb) AS g(
            id uuid, status text, open_steps integer, losses integer, cancels integer, late boolean,
            stopped boolean
        )
        WHERE w.id = g.id
        RETURNING w.id, w.name, w.status, w.unique_key
    ), freed AS (
        DELETE FROM workflow_key AS k USING flows AS f
        WHERE f.status <> 'running' AND k.name = f.name AND k.key = f.unique_key AND k.workflow = f.id
    ), stored AS (
        INSERT INTO task (id, name, type, contract_version, queue, priority, params, key_id, max_attempts,
                          send_at, expires_at, owner, workflow, step, member, inputs, trace_context)
        SELECT CASE WHEN m.grouped THEN {id_of_member("m.task", "t.number - 1")} ELSE m.task END,
               m.contract, split_part(m.contract, '.', 1), m.version, m.queue, m.priority,
               t.params, m.key_id, m.max_attempts,
               now() + make_interval(secs => CASE WHEN m.delay_s > 0 THEN m.delay_s ELSE {PUSH_NET_S} END),
               now() + make_interval(secs => m.delay_s + m.max_wait_s), w.owner, m.workflow, m.name,
               CASE WHEN m.grouped THEN t.number - 1 END, m.inputs, traced.trace_context
        FROM moved AS m JOIN workflow AS w ON w.id = m.workflow
            CROSS JOIN LATERAL (SELECT {_TRACE_CONTEXT} AS trace_context OFFSET 0) AS traced
            CROSS JOIN LATERAL jsonb_array_elements(m.given) WITH ORDINALITY AS t(params, number)
        WHERE m.released ORDER BY m.workflow, m.position, t.number
        RETURNING id, name, queue, priority, owner, workflow, step
    )
    SELECT t.id, t.name, t.queue, t.priority, t.owner, t.workflow, t.step, s.delay_s = 0 AS direct
    FROM stored AS t JOIN workflow_step AS s ON s.workflow = t.workflow AND s.name = t.step
""")

#: Cancels unfinished tasks of steps, as `operate.CANCEL` does with a single task. A row that a
#: transaction of a task body has locked is skipped. Returns the changed tasks, and whether a worker
#: holds each one.
CANCEL_MEMBERS = Ending(
    given="""
        doomed AS (
            SELECT t.id FROM unnest(:workflow::uuid[], :step::text[]) AS g(workflow, step)
                JOIN workflow_step AS s ON s.workflow = g.workflow AND s.name = g.step
                CROSS JOIN LATERAL (
                    SELECT id FROM task
                    WHERE id BETWEEN s.task AND s.last_task
                      AND completed_at IS NULL AND cancel_requested_at IS NULL
                    ORDER BY id FOR UPDATE SKIP LOCKED
                ) AS t
            LIMIT :limit
        ),
    """,
    update="""
        UPDATE task AS t SET
            cancel_requested_at = now(),
            status = CASE WHEN holder IS NULL THEN 'revoked' ELSE status END,
            completed_at = CASE WHEN holder IS NULL THEN now() END,
            send_at = NULL, sent_at = NULL, revision = revision + 1
        FROM doomed WHERE t.id = doomed.id AND t.status IN ('pending', 'started', 'retry')
    """,
    answer=f"SELECT {CHANGED}, holder IS NOT NULL AS held FROM applied",
)

#: Appends an event for each step that still has tasks that CANCEL_MEMBERS has not canceled.
NOTE_REST = Statement("""
    INSERT INTO workflow_event (workflow, step, kind)
    SELECT g.workflow, g.step, 'cancel_rest'
    FROM unnest(:workflow::uuid[], :step::text[]) AS g(workflow, step)
        JOIN workflow_step AS s ON s.workflow = g.workflow AND s.name = g.step
        CROSS JOIN LATERAL (
            SELECT FROM task
            WHERE id BETWEEN s.task AND s.last_task AND completed_at IS NULL AND cancel_requested_at IS NULL
            LIMIT 1
        ) AS rest
    RETURNING workflow
""")

#: Requests the cancellation of an unfinished workflow. Returns its id.
REQUEST_CANCEL = Statement("""
    INSERT INTO workflow_event (workflow, kind)
    SELECT id, 'cancel' FROM workflow WHERE id = :id AND completed_at IS NULL
    RETURNING workflow
""")

#: Appends an event for each workflow whose deadline has passed. A workflow that has such an event is
#: skipped: it becomes `late` only when the event is applied, which may take long if the workflow
#: cannot advance. Returns the number of events.
NOTE_DEADLINES = Statement("""
    WITH passed AS (
        INSERT INTO workflow_event (workflow, kind)
        SELECT w.id, 'deadline' FROM workflow AS w
        WHERE w.deadline_at <= now() AND w.completed_at IS NULL AND NOT w.late AND NOT EXISTS (
            SELECT 1 FROM workflow_event AS e WHERE e.workflow = w.id AND e.kind = 'deadline'
        )
        ORDER BY w.deadline_at LIMIT :limit
        RETURNING 1
    )
    SELECT count(*)::int AS passed FROM passed
""")

#: Reads the workflows that have unapplied events with ids after `after`, the oldest event first.
#: `events` is the number of events that were read, `first` and `last` are the limits of their ids.
#: From the snapshot of the statement come `oldest_xid`, the first transaction that may still be
#: running, and `next_xid`, the first one that had not begun.
PENDING = Statement("""
    WITH pending AS (
        SELECT id, workflow FROM workflow_event WHERE id > :after ORDER BY id LIMIT :limit
    )
    SELECT ARRAY(SELECT workflow FROM pending GROUP BY workflow ORDER BY min(id)) AS workflows,
           (SELECT count(*)::int FROM pending) AS events,
           (SELECT min(id) FROM pending) AS first, (SELECT max(id) FROM pending) AS last,
           pg_snapshot_xmin(s)::text::bigint AS oldest_xid, pg_snapshot_xmax(s)::text::bigint AS next_xid
    FROM pg_current_snapshot() AS s
""")

#: Deletes workflows that ended before a given time, with their steps. Returns one row for each
#: workflow.
DELETE_ENDED = Statement("""
    DELETE FROM workflow WHERE id IN (
        SELECT id FROM workflow WHERE completed_at < :ended_before LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING id
""")

#: Repairs steps whose counts of ended tasks are wrong. It compares the counts, including unapplied
#: events, with the tasks themselves, and appends events for ends that have none. Only workflows
#: that have not changed for a while are compared. One snapshot is used, in which a task and its
#: event are either both visible or both missing. If a step waits again, its tasks belong to an
#: earlier run and do not count. Returns the repaired steps, and the last workflow that was
#: examined.
REPAIR = Statement("""
    WITH still AS (
        SELECT id FROM workflow
        WHERE completed_at IS NULL AND id > :after AND moved_at < now() - make_interval(secs => :still_s)
        ORDER BY id LIMIT :limit
    ), events AS (
        SELECT e.workflow, e.step, sum(e.succeeded) AS succeeded, sum(e.failed) AS failed,
               sum(e.revoked) AS revoked
        FROM still JOIN workflow_event AS e ON e.workflow = still.id GROUP BY e.workflow, e.step
    ), tasks AS (
        SELECT s.workflow, s.name, t.succeeded - s.succeeded AS succeeded, t.failed - s.failed AS failed,
               t.revoked - s.revoked AS revoked
        FROM still JOIN workflow_step AS s ON s.workflow = still.id
            CROSS JOIN LATERAL (
                SELECT count(*) FILTER (WHERE status = 'success') AS succeeded,
                       count(*) FILTER (WHERE status = 'failure') AS failed,
                       count(*) FILTER (WHERE status = 'revoked') AS revoked
                FROM task WHERE id BETWEEN s.task AND s.last_task
            ) AS t
        WHERE s.state NOT IN ('waiting', 'skipped')
    ), missing AS (
        SELECT t.workflow, t.name, t.succeeded - coalesce(e.succeeded, 0) AS succeeded,
               t.failed - coalesce(e.failed, 0) AS failed, t.revoked - coalesce(e.revoked, 0) AS revoked
        FROM tasks AS t LEFT JOIN events AS e ON e.workflow = t.workflow AND e.step = t.name
    ), repaired AS (
        INSERT INTO workflow_event (workflow, step, kind, succeeded, failed, revoked)
        SELECT workflow, name, 'ended', succeeded, failed, revoked FROM missing
        WHERE least(succeeded, failed, revoked) >= 0 AND succeeded + failed + revoked > 0
        RETURNING workflow, step
    )
    SELECT (SELECT json_agg(repaired)::text FROM repaired) AS repaired,
           (SELECT id FROM still ORDER BY id DESC LIMIT 1) AS last
""")

#: Advisory lock that lets only one process repair workflows at a time, until its transaction ends.
#: Two would append the same events.
REPAIR_ALONE = Statement("SELECT pg_advisory_xact_lock(7161121)")

#: Deletes the events of those given workflows that no longer exist.
DROP_EVENTS = Statement("""
    DELETE FROM workflow_event AS e
    WHERE e.workflow = ANY(:id::uuid[]) AND NOT EXISTS (SELECT 1 FROM workflow AS w WHERE w.id = e.workflow)
""")
