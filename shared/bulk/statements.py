"""SQL statements for `bulk_act`, the table of bulk operations and their progress."""

from shared.ledger.statement import Statement

#: Names of the two kinds of audit log entries that bulk operations write: one entry for each chunk,
#: and one at the end.
APPLIED, ENDED = "bulk.applied", "bulk.ended"

#: Stores a bulk operation. The task that carries it out is stored in the same transaction. Returns
#: no row if an earlier request has already started the operation.
START = Statement("""
    INSERT INTO bulk_act (
        id, task, kind, action, filter, given, changes, actor, credential, credential_id, network, request_id,
        reason, rate, expected, exact, until, cursor
    ) VALUES (
        :id, :task, :kind, :action, :filter::text::jsonb, :given::text::jsonb, :changes::text::jsonb, :actor,
        :credential, :credential_id, :network, :request_id, :reason, :rate, :expected, :exact, :until, :cursor
    ) ON CONFLICT (id) DO NOTHING
    RETURNING id
""")

#: Reads a bulk operation that an earlier request has already started.
STARTED = Statement("SELECT task, actor FROM bulk_act WHERE id = :id")

#: Locks a bulk operation while one chunk of its matches is changed. It also makes Postgres plan the
#: queries of this transaction for their actual values, because a generic plan would treat a rare
#: task name as one of average frequency. `wait_s` is the number of seconds until the rate limit of
#: the operation allows the next chunk.
LOCK = Statement("""
    SELECT kind, action, filter::text AS filter, changes::text AS changes, actor, credential, credential_id,
           network, request_id, reason, rate, until, cursor, done, skipped, refused, expected,
           stopped_at IS NOT NULL AS stopped, outcome,
           greatest(0, extract(epoch FROM not_before - clock_timestamp()))::float8 AS wait_s,
           set_config('plan_cache_mode', 'force_custom_plan', true) AS mode
    FROM bulk_act WHERE id = :id FOR UPDATE
""")

#: Adds the results of a chunk to the counts of a bulk operation, and returns the new counts.
#: `outcome` is null unless the operation ends with this chunk.
ADVANCE = Statement("""
    UPDATE bulk_act AS b SET cursor = :cursor, done = done + :done, skipped = skipped + :skipped,
        refused = refused + :refused,
        refusals = refusals || (
            SELECT coalesce(jsonb_object_agg(key, value::int + coalesce((b.refusals ->> key)::int, 0)), '{}')
            FROM jsonb_each_text(:refusals::text::jsonb)
        ),
        not_before = greatest(not_before, clock_timestamp()) + make_interval(secs => coalesce(
            (:done + :skipped + :refused)::float8 / rate, 0)),
        outcome = :outcome, ended_at = CASE WHEN :outcome::text IS NOT NULL THEN clock_timestamp() END
    WHERE id = :id
    RETURNING done, skipped, refused
""")

#: Ends a bulk operation that has not processed all matches.
END = Statement("UPDATE bulk_act SET outcome = :outcome, ended_at = clock_timestamp() WHERE id = :id")

#: Requests that a bulk operation stop. Returns no row if it has already ended.
STOP = Statement("""
    UPDATE bulk_act SET stopped_at = coalesce(stopped_at, now()) WHERE id = :id AND ended_at IS NULL
    RETURNING task
""")

#: Counts the bulk operations of an account that have not ended and whose tasks have not ended
#: either. The operation `besides` is not counted, because a simultaneous request with the same token
#: may have just started it.
UNFINISHED = Statement("""
    SELECT count(*)::int AS n FROM bulk_act AS b JOIN task AS t ON t.id = b.task
    WHERE b.actor = :actor AND b.id <> :besides AND b.ended_at IS NULL
      AND t.status IN ('pending', 'started', 'retry')
""")
