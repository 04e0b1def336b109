"""SQL that moves tasks between Postgres, the lanes in Redis, and workers.

A task waits in Postgres (`send_at`), in a lane in Redis (`sent_at`), or is held by a worker
(`holder`). The WHERE clause of each statement ensures that it only changes tasks in the right
place, with the right claim number and holder. Ids are passed in sorted order and rows are read by
the index of ids (see `session.BY_INDEX`), so that two statements over the same rows lock them in
the same order. A statement that finds its rows in another way skips locked rows.

If ids are given, the condition on the place is written `(…) IS TRUE`, which no index serves.
Otherwise, Postgres might use the index of that place, because statistics from a quiet day let it
expect few rows there even if there are a million.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S

_SENT_NOW = """
    send_at = NULL,
    sent_at = CASE WHEN t.claim = 0 AND t.send_at > now() THEN t.created_at ELSE now() END
"""

#: Marks that the ids of tasks are now in a lane in Redis. A task whose submitter pushed its id
#: counts as sent at its creation. A late mark changes nothing, because the claim number has gone up
#: or the task is in another place.
MARK_SENT = Statement(f"""
    UPDATE task AS t SET {_SENT_NOW}
    FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim)
    WHERE t.id = g.id AND t.claim = g.claim AND (t.send_at IS NOT NULL) IS TRUE
""")

#: Like MARK_SENT, for submitters of tasks, whose sessions may read the rows in any order. A locked
#: row is skipped: a worker is claiming the task, so it needs no mark.
MARK_PUSHED = Statement(f"""
    UPDATE task AS t SET {_SENT_NOW}
    FROM (
        SELECT t.id FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim) JOIN task AS t USING (id)
        WHERE t.claim = g.claim AND (t.send_at IS NOT NULL) IS TRUE
        FOR UPDATE OF t SKIP LOCKED
    ) AS free
    WHERE t.id = free.id
""")

#: Claims tasks for a worker. It claims tasks that are in a lane in Redis, tasks that are due, and
#: tasks whose submitter has pushed the id but not marked it yet. It also claims tasks that this
#: worker already holds, because the answer to an earlier claim may have been lost. Such a repeated
#: claim keeps its number: if two claims compete, the late one must not end the attempt that began
#: under the other. A worker that stopped or was declared dead gets no rows.
CLAIM = Statement(f"""
    UPDATE task AS t
    SET claim = t.claim + (t.holder IS DISTINCT FROM w.id)::int,
        holder = w.id, worker = w.id, claimed_at = now(),
        send_at = NULL, sent_at = NULL, wait_reason = NULL
    FROM worker AS w
    WHERE w.id = :worker AND w.dead_at IS NULL AND w.stopped_at IS NULL AND t.id = ANY(:id::uuid[])
      AND (t.sent_at IS NOT NULL OR t.send_at <= now() OR t.holder = w.id
           OR (t.claim = 0 AND t.send_at <= now() + interval '{PUSH_NET_S} s')) IS TRUE
    RETURNING t.id, t.claim, t.name, t.contract_version, t.queue, t.priority, t.status, t.params, t.attempt,
              t.failures, t.max_attempts, t.interruptions, t.suspect, t.owner, t.cancel_requested_at,
              t.workflow, t.step, t.member, t.inputs, t.trace_context,
              t.expires_at <= now() AS expired,
              CASE WHEN old.claim = 0 AND old.send_at > now() THEN t.created_at
                   ELSE coalesce(old.sent_at, old.send_at, now()) END AS ready_at,
              t.claimed_at
""")

#: Takes tasks back to Postgres whose ids were fetched from Redis but could not be claimed, and
#: which no worker holds. The claim number goes up, so that a late mark of the submitter, which
#: would say that the id is in Redis, changes nothing.
UNCLAIMED_TO_POSTGRES = Statement("""
    UPDATE task SET send_at = coalesce(send_at, now()), sent_at = NULL, claim = claim + 1
    WHERE id = ANY(:id::uuid[]) AND (sent_at IS NOT NULL OR send_at IS NOT NULL) IS TRUE
""")

#: Gives back tasks that a worker holds according to Postgres but does not know of, because the
#: answer to its claim was lost.
GIVE_BACK_FORGOTTEN = Statement("""
    UPDATE task AS t SET holder = NULL, send_at = now(),
        status = CASE WHEN t.status = 'started' THEN 'pending' ELSE t.status END, revision = t.revision + 1
    FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim)
    WHERE t.id = g.id AND t.claim = g.claim AND (t.holder = :worker) IS TRUE
""")

#: Takes tasks back to Postgres whose ids Redis has lost, for one queue and priority. These are the
#: tasks that were sent within one of the given ranges of time; the ends are not included. A suspect
#: (a task that may have killed a worker) must also have been sent before `suspects_before`, because
#: its id is in the lane of rescued tasks. Null means that nothing is known about that lane. `limit`
#: applies to each range. Returns the ids.
LOST = Statement("""
    UPDATE task SET send_at = now(), sent_at = NULL
    WHERE (sent_at IS NOT NULL) IS TRUE AND id IN (
        SELECT lost.id FROM unnest(:after::timestamptz[], :before::timestamptz[]) AS span(after, before)
        CROSS JOIN LATERAL (
            SELECT id FROM task WHERE queue = :queue AND priority = :priority AND sent_at IS NOT NULL
              AND sent_at > span.after AND sent_at < span.before
              AND (NOT suspect OR sent_at < :suspects_before)
            ORDER BY sent_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ) AS lost
    )
    RETURNING id
""")
