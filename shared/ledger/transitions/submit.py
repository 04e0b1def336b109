"""SQL that creates tasks.

The new rows wait in Postgres (`send_at`) until their ids are pushed to Redis and marked as sent.
"""

from shared.ledger.statement import Statement

#: Number of seconds after which the dispatcher sends a task to Redis if its submitter has not
#: pushed its id.
PUSH_NET_S = 3
#: Number of hours for which an idempotency key refers to the first submission that used it.
KEY_LIFE_H = 24

_NEW = """
    id, name, type, contract_version, queue, priority, params, key_id, max_attempts, send_at, expires_at,
    owner, schedule, fire_time, trace_context
"""
#: Values of the columns of a new task. Times are computed by the database's clock, whatever clock
#: the submitter has. A `run_at` in the past means now, and `max_wait_s` counts from that time.
_NEW_VALUES = f"""
    g.id, g.name, g.type, g.version, g.queue, g.priority, g.params, g.key_id, g.max_attempts,
    greatest(now(), coalesce(g.run_at, now() + make_interval(secs => coalesce(g.delay_s, {PUSH_NET_S})))),
    coalesce(g.expires_at,
             greatest(now(), coalesce(g.run_at, now() + make_interval(secs => coalesce(g.delay_s, 0))))
             + make_interval(secs => g.max_wait_s)),
    g.owner, g.schedule, g.fire_time, g.trace_context
"""


def _given(values: str = "", names: str = "") -> str:
    """SQL of a CTE that joins the values of each task with those that tasks of one kind share.

    Each element of an array costs the driver half a microsecond, and the join saves eleven arrays
    with an element per task. `values` and `names` are additional columns of each task.
    """
    return f"""
    given AS MATERIALIZED (
        SELECT * FROM (
            SELECT coalesce(g.made_id, uuidv7()) AS id, g.* FROM ROWS FROM (
                jsonb_array_elements(:params::jsonb), unnest(:kinds::integer[]), unnest(:id::uuid[]),
                unnest(:run_at::timestamptz[]), unnest(:delay_s::float8[]), unnest(:expires_at::timestamptz[])
                {values}
            ) AS g(params, kind, made_id, run_at, delay_s, expires_at{names})
        ) AS own JOIN unnest(
            :name::text[], :type::text[], :version::smallint[], :queue::text[], :max_attempts::smallint[],
            :max_wait_s::float8[], :priority::smallint[], :key_id::text[], :owner::bigint[],
            :schedule::text[], :fire_time::timestamptz[], :trace_context::text[]
        ) WITH ORDINALITY AS shared(name, type, version, queue, max_attempts, max_wait_s, priority, key_id,
                                    owner, schedule, fire_time, trace_context, kind) USING (kind)
    )
    """


_GIVEN = _given()
_GIVEN_UNDER_KEYS = _given(
    ", unnest(:number::integer[]), unnest(:scope::text[]), unnest(:key::text[]), unnest(:body_hash::bytea[])",
    ", number, scope, key, body_hash",
)

#: Stores many tasks. `params` is one JSON array of all parameters. There are arrays with an element
#: per task for `id`, `run_at`, `delay_s`, `expires_at` and the kind of the task (a number from 1);
#: an empty array means null for all tasks. The arrays of all other columns have an element per
#: kind. If an id is null, it is generated here; given ids must be in ascending order. Returns
#: `ids`, which ascend in the order of the input.
SUBMIT = Statement(f"""
    WITH {_GIVEN}, stored AS (INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM given AS g RETURNING id)
    SELECT array_agg(id ORDER BY id) AS ids FROM stored
""")

#: Stores one task and returns its id. It uses no arrays and therefore costs Postgres and the driver
#: a quarter less than SUBMIT.
SUBMIT_ONE = Statement(f"""
    INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM (VALUES (
        coalesce(:id::uuid, uuidv7()), :name::text, :type::text, :version::smallint, :queue::text,
        :max_attempts::smallint, :max_wait_s::float8, :priority::smallint, :key_id::text, :owner::bigint,
        :schedule::text, :fire_time::timestamptz, :trace_context::text, :params::text::jsonb,
        :run_at::timestamptz, :delay_s::float8, :expires_at::timestamptz
    )) AS g(id, name, type, version, queue, max_attempts, max_wait_s, priority, key_id, owner, schedule,
            fire_time, trace_context, params, run_at, delay_s, expires_at)
    RETURNING id
""")

#: Stores tasks like SUBMIT, unless the idempotency key is taken; then `ids` is null. If several
#: submissions use the key at the same time, the first one stores its tasks and the others wait for
#: its commit. A key is free again after a day.
SUBMIT_ONCE = Statement(f"""
    WITH {_GIVEN}, won AS (
        INSERT INTO submission_key AS k (scope, key, body_hash, task_ids)
        SELECT :scope, :key, :body_hash, array_agg(id ORDER BY id) FROM given
        ON CONFLICT (scope, key) DO UPDATE
            SET body_hash = excluded.body_hash, task_ids = excluded.task_ids, created_at = now()
            WHERE k.created_at < now() - interval '{KEY_LIFE_H} h'
        RETURNING task_ids
    ), stored AS (
        INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM given AS g WHERE EXISTS (SELECT 1 FROM won)
    )
    SELECT (SELECT task_ids FROM won) AS ids
""")

#: Stores tasks like SUBMIT_ONCE, but each with its own idempotency key. `number` is the position of
#: each task in the input. Returns `ids` in the order of the input, with null where the key is
#: taken. Keys are taken in sorted order, so that statements of several processes cannot deadlock.
SUBMIT_EACH_ONCE = Statement(f"""
    WITH {_GIVEN_UNDER_KEYS}, won AS (
        INSERT INTO submission_key AS k (scope, key, body_hash, task_ids)
        SELECT scope, key, body_hash, ARRAY[id] FROM given ORDER BY scope, key
        ON CONFLICT (scope, key) DO UPDATE
            SET body_hash = excluded.body_hash, task_ids = excluded.task_ids, created_at = now()
            WHERE k.created_at < now() - interval '{KEY_LIFE_H} h'
        RETURNING task_ids[1] AS id
    ), stored AS (
        INSERT INTO task ({_NEW}) SELECT {_NEW_VALUES} FROM given AS g WHERE g.id IN (SELECT id FROM won)
    )
    SELECT array_agg(won.id ORDER BY given.number) AS ids FROM given LEFT JOIN won ON won.id = given.id
""")

#: Reads the first submission under an idempotency key. Returns no row if the key is free.
SUBMITTED_UNDER = Statement(f"""
    SELECT task_ids, body_hash FROM submission_key
    WHERE scope = :scope AND key = :key AND created_at >= now() - interval '{KEY_LIFE_H} h'
""")

#: Like SUBMITTED_UNDER, for many idempotency keys. Rows are numbered from 1 in the order of the
#: input.
SUBMITTED_UNDER_EACH = Statement(f"""
    SELECT given.number, k.task_ids, k.body_hash
    FROM unnest(:scope::text[], :key::text[]) WITH ORDINALITY AS given(scope, key, number)
    JOIN submission_key AS k ON k.scope = given.scope AND k.key = given.key
    WHERE k.created_at >= now() - interval '{KEY_LIFE_H} h'
""")

#: Stores child tasks, whose ids were generated by the worker of their parent task. If the statement
#: is repeated, it stores nothing.
SUBMIT_CHILDREN = Statement(f"""
    INSERT INTO task (id, name, type, contract_version, queue, priority, params, key_id, max_attempts,
                      send_at, expires_at, owner, parent, trace_context)
    SELECT g.id, g.name, g.type, g.version, g.queue, g.priority, g.params::jsonb, g.key_id, g.max_attempts,
           now() + make_interval(secs => coalesce(g.delay_s, {PUSH_NET_S})),
           now() + make_interval(secs => coalesce(g.delay_s, 0) + g.max_wait_s), g.owner, g.parent,
           g.trace_context
    FROM unnest(:id::uuid[], :name::text[], :type::text[], :version::smallint[], :queue::text[],
                :priority::smallint[], :params::text[], :key_id::text[], :max_attempts::smallint[],
                :delay_s::float8[], :max_wait_s::float8[], :owner::bigint[], :parent::uuid[],
                :trace_context::text[])
         AS g(id, name, type, version, queue, priority, params, key_id, max_attempts, delay_s, max_wait_s,
              owner, parent, trace_context)
    ON CONFLICT (id) DO NOTHING
""")

#: Reserves the keys of child tasks that are stored immediately, so that a repeated attempt does not
#: store them again. Returns the ids of the tasks whose key was free.
RESERVE_KEYS = Statement("""
    INSERT INTO submission_key (scope, key, task_ids)
    SELECT g.scope, g.key, ARRAY[g.task_id]
    FROM unnest(:scope::text[], :key::text[], :id::uuid[]) AS g(scope, key, task_id)
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING task_ids[1] AS task_id
""")
