"""Every statement that moves a task from one place to the next.

Each guards itself in its own WHERE: by place, by claim, by holder. `{}` stands for a value, in the order of
appearance. Ids come sorted so that two statements over the same rows lock them in one order.

Where the id is given, a guard by place stands as `(…) IS TRUE`: no index serves that. Else Postgres, whose
knowledge of a busy day may be that of a quiet one, would look for the few rows that it expects in that
place, and find a million.
"""

from typing import Any

#: Seconds after which the dispatcher sends a task whose submitter was to push the id itself.
PUSH_NET_S = 3
#: Hours for which a client's key stands for its first submission.
KEY_LIFE_H = 24

_NEW = """
    id, name, type, contract_version, queue, priority, params, key_id, max_attempts, send_at, expires_at,
    owner, schedule, fire_time
"""
_NEW_VALUES = f"""
    g.id, g.name, g.type, g.version, g.queue, g.priority, g.params, g.key_id, g.max_attempts,
    coalesce(g.run_at, now() + make_interval(secs => coalesce(g.delay_s, {PUSH_NET_S}))),
    g.expires_at, g.owner, g.schedule, g.fire_time
"""
#: What is each task's own, and what it shares with others of its kind: an array costs the driver half a
#: microsecond for each element, so ten columns less are worth the join.
_GIVEN = """
    given AS MATERIALIZED (
        SELECT * FROM (
            SELECT uuidv7() AS id, g.* FROM ROWS FROM (
                jsonb_array_elements({}::jsonb), unnest({}::integer[]), unnest({}::timestamptz[]),
                unnest({}::float8[]), unnest({}::timestamptz[])
            ) AS g(params, kind, run_at, delay_s, expires_at)
        ) AS own JOIN unnest(
            {}::text[], {}::text[], {}::smallint[], {}::text[], {}::smallint[], {}::smallint[], {}::text[],
            {}::bigint[], {}::text[], {}::timestamptz[]
        ) WITH ORDINALITY AS shared(name, type, version, queue, max_attempts, priority, key_id, owner,
                                    schedule, fire_time, kind) USING (kind)
    )
"""

#: values: params of all tasks as one JSON array; kind[], run_at[], delay_s[], expires_at[] of each, an empty
#: array meaning null; then of each kind, which is a number from 1: name[], type[], contract_version[],
#: queue[], max_attempts[], priority[], key_id[], owner[], schedule[], fire_time[]. Returns ids, which rise in
#: the order of the input.
SUBMIT = f"""
    WITH {_GIVEN}, stored AS (INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM given AS g RETURNING id)
    SELECT array_agg(id ORDER BY id) AS ids FROM stored
"""

#: As SUBMIT, for one task: without arrays it takes Postgres and the driver a quarter less or better. values:
#: what a kind has in common, then the task's own, each in the order of SUBMIT. Returns its id.
SUBMIT_ONE = f"""
    INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM (VALUES (
        uuidv7(), {{}}::text, {{}}::text, {{}}::smallint, {{}}::text, {{}}::smallint, {{}}::smallint,
        {{}}::text, {{}}::bigint, {{}}::text, {{}}::timestamptz, {{}}::text::jsonb, {{}}::timestamptz,
        {{}}::float8, {{}}::timestamptz
    )) AS g(id, name, type, version, queue, max_attempts, priority, key_id, owner, schedule, fire_time,
            params, run_at, delay_s, expires_at)
    RETURNING id
"""

#: Stores the tasks unless their key is taken; then ids is null. Of concurrent ones the first wins, the
#: others wait for its commit. A key is free again after a day. values: as SUBMIT, then scope, key, body hash.
SUBMIT_ONCE = f"""
    WITH {_GIVEN}, won AS (
        INSERT INTO submission_key AS k (scope, key, body_hash, task_ids)
        SELECT {{}}, {{}}, {{}}, array_agg(id ORDER BY id) FROM given
        ON CONFLICT (scope, key) DO UPDATE
            SET body_hash = excluded.body_hash, task_ids = excluded.task_ids, created_at = now()
            WHERE k.created_at < now() - interval '{KEY_LIFE_H} h'
        RETURNING task_ids
    ), stored AS (
        INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM given AS g WHERE EXISTS (SELECT 1 FROM won)
    )
    SELECT (SELECT task_ids FROM won) AS ids
"""

#: values: scope, key.
SUBMITTED_UNDER = "SELECT task_ids, body_hash FROM submission_key WHERE scope = {} AND key = {}"

#: A child's id is made by its parent's worker; `ready` children commit with the parent's success.
#: values: id[], name[], type[], contract_version[], queue[], priority[], params[], key_id[], max_attempts[],
#: delay_s[], owner[], parent[].
SUBMIT_CHILDREN = f"""
    INSERT INTO task (id, name, type, contract_version, queue, priority, params, key_id, max_attempts,
                      send_at, owner, parent)
    SELECT g.id, g.name, g.type, g.version, g.queue, g.priority, g.params::jsonb, g.key_id, g.max_attempts,
           now() + make_interval(secs => coalesce(g.delay_s, {PUSH_NET_S})), g.owner, g.parent
    FROM unnest({{}}::uuid[], {{}}::text[], {{}}::text[], {{}}::smallint[], {{}}::text[], {{}}::smallint[],
                {{}}::text[], {{}}::text[], {{}}::smallint[], {{}}::float8[], {{}}::bigint[], {{}}::uuid[])
         AS g(id, name, type, version, queue, priority, params, key_id, max_attempts, delay_s, owner, parent)
    ON CONFLICT (id) DO NOTHING
"""

#: values: scope[], key[], task_id[]. Returns the task ids whose key was free.
RESERVE_KEYS = """
    INSERT INTO submission_key (scope, key, task_ids)
    SELECT g.scope, g.key, ARRAY[g.task_id]
    FROM unnest({}::text[], {}::text[], {}::uuid[]) AS g(scope, key, task_id)
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING task_ids[1] AS task_id
"""

#: The id lies in Redis now; one that its submitter pushed has lain there since it was made. A late mark hits
#: nothing: the claim has gone up, or another place was taken. values: id[], seen claim[].
MARK_SENT = """
    UPDATE task AS t SET send_at = NULL,
        sent_at = CASE WHEN t.claim = 0 AND t.send_at > now() THEN t.created_at ELSE now() END
    FROM unnest({}::uuid[], {}::integer[]) AS g(id, claim)
    WHERE t.id = g.id AND t.claim = g.claim AND (t.send_at IS NOT NULL) IS TRUE
"""

#: Takes what is in a lane, what is due, what its submitter pushed a moment ago and did not mark yet, and what
#: this worker holds already because the answer to its last claim was lost. Such a repeated claim keeps its
#: number: of two that race, the one that comes late must not end the attempt that began under the other.
#: A worker declared dead gets nothing. values: worker, id[].
CLAIM = f"""
    UPDATE task AS t
    SET claim = t.claim + (t.holder IS DISTINCT FROM w.id)::int,
        holder = w.id, worker = w.id, claimed_at = now(),
        send_at = NULL, sent_at = NULL, wait_reason = NULL
    FROM worker AS w
    WHERE w.id = {{}} AND w.dead_at IS NULL AND t.id = ANY({{}}::uuid[])
      AND (t.sent_at IS NOT NULL OR t.send_at <= now() OR t.holder = w.id
           OR (t.claim = 0 AND t.send_at <= now() + interval '{PUSH_NET_S} s')) IS TRUE
    RETURNING t.id, t.claim, t.name, t.contract_version, t.queue, t.priority, t.status, t.params, t.attempt,
              t.failures, t.max_attempts, t.suspect, t.owner, t.cancel_requested_at,
              t.expires_at <= now() AS expired,
              CASE WHEN old.claim = 0 AND old.send_at > now() THEN t.created_at
                   ELSE coalesce(old.sent_at, old.send_at, now()) END AS ready_at,
              t.claimed_at
"""

#: An id that was fetched, could not be claimed and is with nobody goes back to Postgres. The claim goes up:
#: who pushed the id and has not marked it yet marks nothing, for it is in Redis no more. values: id[].
UNCLAIMED_TO_POSTGRES = """
    UPDATE task SET send_at = coalesce(send_at, now()), sent_at = NULL, claim = claim + 1
    WHERE id = ANY({}::uuid[]) AND (sent_at IS NOT NULL OR send_at IS NOT NULL) IS TRUE
"""

#: One row per task and round: start, progress, outcome or giving back, whatever has piled up. Absolute values
#: only, so that a repeated write changes nothing. What was to be cancelled is revoked where it would wait.
#: values: see `Recorder`. Returns the ids that were written.
RECORD = """
    WITH given AS (
        SELECT * FROM unnest(
            {}::uuid[], {}::integer[], {}::text[], {}::boolean[], {}::integer[], {}::integer[], {}::integer[],
            {}::timestamptz[], {}::timestamptz[], {}::float8[], {}::float8[], {}::integer[], {}::integer[],
            {}::text[], {}::text[], {}::text[], {}::text[], {}::text[], {}::text[], {}::text[], {}::text[]
        ) AS g(id, claim, status, released, attempt, failures, interruptions, started_at, ended_at,
               execution_s, wait_s, progress_current, progress_total, progress_message, result, key_id,
               error_kind, error_message, error_traceback, error_fingerprint, wait_reason)
    ), applied AS (
        UPDATE task AS t SET
            status = CASE WHEN g.wait_s IS NOT NULL AND t.cancel_requested_at IS NOT NULL THEN 'revoked'
                          ELSE g.status END,
            attempt = g.attempt,
            failures = g.failures,
            interruptions = t.interruptions + g.interruptions,
            started_at = coalesce(g.started_at, t.started_at),
            completed_at = CASE WHEN g.released AND (g.wait_s IS NULL OR t.cancel_requested_at IS NOT NULL)
                                THEN g.ended_at END,
            execution_time_seconds = g.execution_s,
            progress_total = coalesce(g.progress_total, t.progress_total),
            progress_current = CASE
                WHEN g.status = 'success' THEN coalesce(g.progress_total, t.progress_total)
                ELSE coalesce(g.progress_current, t.progress_current) END,
            progress_message = coalesce(g.progress_message, t.progress_message),
            result = g.result::jsonb,
            key_id = coalesce(t.key_id, g.key_id),
            error_kind = CASE WHEN g.released THEN g.error_kind ELSE t.error_kind END,
            error_message = CASE WHEN g.released THEN g.error_message ELSE t.error_message END,
            error_traceback = CASE WHEN g.released THEN g.error_traceback ELSE t.error_traceback END,
            error_fingerprint = CASE WHEN g.released THEN g.error_fingerprint ELSE t.error_fingerprint END,
            suspect = t.suspect AND NOT (g.released AND g.started_at IS NOT NULL),
            holder = CASE WHEN NOT g.released THEN t.holder END,
            send_at = CASE WHEN g.released AND t.cancel_requested_at IS NULL
                           THEN now() + make_interval(secs => g.wait_s) END,
            wait_reason = g.wait_reason,
            revision = t.revision + 1
        FROM given AS g
        WHERE t.id = g.id AND t.claim = g.claim AND (t.holder = {}) IS TRUE
        RETURNING t.id, t.status
    ), closed AS (
        INSERT INTO task_attempt (task_id, claim, attempt, worker, started_at, ended_at, outcome,
            execution_time_seconds, error_kind, error_message, error_traceback, error_fingerprint)
        SELECT g.id, g.claim, g.attempt, {}, g.started_at, g.ended_at,
            CASE WHEN g.interruptions > 0 THEN 'interrupted' ELSE 'retry' END,
            g.execution_s, g.error_kind, g.error_message, g.error_traceback, g.error_fingerprint
        FROM given AS g JOIN applied USING (id)
        WHERE g.released AND g.wait_s IS NOT NULL AND g.started_at IS NOT NULL AND applied.status <> 'revoked'
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM applied
"""

#: values: id[], claim[], ordinal[], logged_at[], level[], message[]. Lines of a claim that is over are
#: dropped.
LOG = """
    INSERT INTO task_log (task_id, claim, ordinal, logged_at, level, message)
    SELECT g.* FROM unnest({}::uuid[], {}::integer[], {}::integer[], {}::timestamptz[], {}::text[],
                           {}::text[])
        AS g(id, claim, ordinal, logged_at, level, message)
    WHERE EXISTS (SELECT 1 FROM task AS t WHERE t.id = g.id AND t.claim = g.claim)
    ON CONFLICT DO NOTHING
"""

#: values: id[], claim[]. Of the rows that RECORD did not write: were they already mine, or is the claim over?
OUTCOME_STANDS = """
    SELECT g.id FROM unnest({}::uuid[], {}::integer[]) AS g(id, claim) JOIN task AS t ON t.id = g.id
    WHERE t.claim = g.claim AND t.holder IS NULL
"""

#: The success of `context.complete_in`, inside the task's own transaction.
#: values: attempt, started_at, ended_at, execution_s, result, key_id, id, claim, worker.
COMPLETE = """
    UPDATE task SET status = 'success', attempt = {}, started_at = {}, completed_at = {},
        execution_time_seconds = {}, result = {}::text::jsonb, key_id = coalesce(key_id, {}),
        progress_current = progress_total,
        holder = NULL, suspect = false,
        error_kind = NULL, error_message = NULL, error_traceback = NULL, error_fingerprint = NULL,
        revision = revision + 1
    WHERE id = {} AND claim = {} AND (holder = {}) IS TRUE
    RETURNING id
"""

#: Waiting: revoked at once, an id in Redis loses at its claim. Held: the worker learns it. values: id.
CANCEL = """
    UPDATE task SET
        cancel_requested_at = coalesce(cancel_requested_at, now()),
        status = CASE WHEN holder IS NULL THEN 'revoked' ELSE status END,
        completed_at = CASE WHEN holder IS NULL THEN now() END,
        send_at = NULL, sent_at = NULL, revision = revision + 1
    WHERE id = {} AND status IN ('pending', 'started', 'retry')
    RETURNING status, holder
"""

#: An operator lets a task that failed or was cancelled begin anew; counters and blame are forgotten, its last
#: attempt is kept among the others. The claim goes up, so that nothing of before can write.
#: values: id, reason.
RETRY = """
    WITH ended AS (
        SELECT * FROM task WHERE id = {} AND status IN ('failure', 'revoked') FOR UPDATE
    ), closed AS (
        INSERT INTO task_attempt (task_id, claim, attempt, worker, started_at, ended_at, outcome,
            execution_time_seconds, error_kind, error_message, error_traceback, error_fingerprint)
        SELECT e.id, e.claim, e.attempt, e.worker, e.started_at, e.completed_at, e.status,
            e.execution_time_seconds, e.error_kind, e.error_message, e.error_traceback, e.error_fingerprint
        FROM ended AS e
        WHERE e.attempt > 0 AND NOT EXISTS (
            SELECT 1 FROM task_attempt AS a WHERE a.task_id = e.id AND a.attempt = e.attempt
        )
    )
    UPDATE task AS t SET status = 'pending', claim = t.claim + 1, send_at = now(), completed_at = NULL,
        failures = 0, crashes = 0, suspect = false, started_at = NULL, execution_time_seconds = NULL,
        progress_current = 0, progress_message = NULL, result = NULL, error_kind = NULL, error_message = NULL,
        error_traceback = NULL, error_fingerprint = NULL, cancel_requested_at = NULL, expires_at = NULL,
        wait_reason = {}, revision = t.revision + 1
    FROM ended WHERE t.id = ended.id
    RETURNING t.status
"""


def sparse(column: list[Any]) -> list[Any]:
    """Nothing where no row has a value: the driver works by the element, and `unnest` fills up with nulls."""
    return column if any(value is not None for value in column) else []
