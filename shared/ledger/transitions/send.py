"""Moves tasks between Postgres (`send_at`), Redis lanes (`sent_at`) and workers (`holder`).

Each statement guards itself in its own WHERE: by place, by claim, by holder. Ids are passed sorted, and rows
are read by the index of ids (see `database.BY_INDEX`), so that two statements over the same rows lock them in
one order. A statement that finds its rows otherwise skips those that are locked.

Where the id is given, a guard by place is written `(…) IS TRUE`, which no index serves. Otherwise Postgres,
whose statistics of a busy day may be those of a quiet one, would look for the few rows that it expects in
that place, and find a million.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S

_SENT_NOW = """
    send_at = NULL,
    sent_at = CASE WHEN t.claim = 0 AND t.send_at > now() THEN t.created_at ELSE now() END
"""

#: The ids are in a Redis lane now; an id that its submitter pushed has been there since it was created. A
#: late mark hits nothing: the claim has gone up, or the row is in another place.
MARK_SENT = Statement(f"""
    UPDATE task AS t SET {_SENT_NOW}
    FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim)
    WHERE t.id = g.id AND t.claim = g.claim AND (t.send_at IS NOT NULL) IS TRUE
""")

#: The same for submitters, whose sessions may read the rows in any order. A row that is locked is being
#: claimed, and needs no mark.
MARK_PUSHED = Statement(f"""
    UPDATE task AS t SET {_SENT_NOW}
    FROM (
        SELECT t.id FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim) JOIN task AS t USING (id)
        WHERE t.claim = g.claim AND (t.send_at IS NOT NULL) IS TRUE
        FOR UPDATE OF t SKIP LOCKED
    ) AS free
    WHERE t.id = free.id
""")

#: Takes what is in a lane, what is due, what its submitter pushed a moment ago and has not marked yet, and
#: what this worker holds already because the answer to its last claim was lost. Such a repeated claim keeps
#: its number: of two that race, the late one must not end the attempt that began under the other. A worker
#: that was declared dead gets nothing.
CLAIM = Statement(f"""
    UPDATE task AS t
    SET claim = t.claim + (t.holder IS DISTINCT FROM w.id)::int,
        holder = w.id, worker = w.id, claimed_at = now(),
        send_at = NULL, sent_at = NULL, wait_reason = NULL
    FROM worker AS w
    WHERE w.id = :worker AND w.dead_at IS NULL AND t.id = ANY(:id::uuid[])
      AND (t.sent_at IS NOT NULL OR t.send_at <= now() OR t.holder = w.id
           OR (t.claim = 0 AND t.send_at <= now() + interval '{PUSH_NET_S} s')) IS TRUE
    RETURNING t.id, t.claim, t.name, t.contract_version, t.queue, t.priority, t.status, t.params, t.attempt,
              t.failures, t.max_attempts, t.interruptions, t.suspect, t.owner, t.cancel_requested_at,
              t.workflow, t.step, t.member, t.inputs,
              t.expires_at <= now() AS expired,
              CASE WHEN old.claim = 0 AND old.send_at > now() THEN t.created_at
                   ELSE coalesce(old.sent_at, old.send_at, now()) END AS ready_at,
              t.claimed_at
""")

#: Ids that were fetched, could not be claimed and are with no worker go back to Postgres. The claim goes up:
#: a submitter that pushed an id and has not marked it yet marks nothing, for Redis no longer has it.
UNCLAIMED_TO_POSTGRES = Statement("""
    UPDATE task SET send_at = coalesce(send_at, now()), sent_at = NULL, claim = claim + 1
    WHERE id = ANY(:id::uuid[]) AND (sent_at IS NOT NULL OR send_at IS NOT NULL) IS TRUE
""")

#: Rows that a worker holds in the ledger only, because the answer to a claim was lost.
GIVE_BACK_FORGOTTEN = Statement("""
    UPDATE task AS t SET holder = NULL, send_at = now(),
        status = CASE WHEN t.status = 'started' THEN 'pending' ELSE t.status END, revision = t.revision + 1
    FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim)
    WHERE t.id = g.id AND t.claim = g.claim AND (t.holder = :worker) IS TRUE
""")

#: Rows of one priority that Redis has lost: they were sent before `before`. A suspect must also have been
#: sent before `suspects_before`, because its id is in the lane of rescued ones. Null means that the lane
#: says nothing. Returns the ids.
LOST = Statement("""
    UPDATE task SET send_at = now(), sent_at = NULL
    WHERE (sent_at IS NOT NULL) IS TRUE AND id IN (
        SELECT id FROM task WHERE queue = :queue AND priority = :priority AND sent_at IS NOT NULL
          AND sent_at < :before AND (NOT suspect OR sent_at < :suspects_before)
        ORDER BY sent_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id
""")
