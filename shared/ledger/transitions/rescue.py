"""Takes back what dead workers held, and lifts the suspicion that this leaves."""

from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending

#: A worker renews its heartbeat each second, so it died at most this much later than the last one.
HEARTBEAT_S = 1


def _rescue(lost: str) -> Ending:
    """Take back the rows that `lost` selects.

    A suspect that was running when its process died counts a crash. Everything else that was held becomes a
    suspect and is blamed for nothing yet. Returns the changes, and whether each task was running.
    """
    crashes = "t.crashes + lost.crashed::int"
    return Ending(
        given=f"lost AS ({lost}),",
        update=f"""
            UPDATE task AS t SET
                claim = t.claim + 1,
                holder = NULL,
                suspect = true,
                crashes = {crashes},
                interruptions = t.interruptions + (t.status = 'started' AND NOT lost.crashed)::int,
                status = CASE WHEN {crashes} >= :crash_limit THEN 'failure'
                              WHEN t.cancel_requested_at IS NOT NULL THEN 'revoked'
                              WHEN t.status = 'started' THEN 'pending' ELSE t.status END,
                send_at = CASE WHEN {crashes} < :crash_limit AND t.cancel_requested_at IS NULL
                               THEN now() END,
                completed_at = CASE WHEN {crashes} >= :crash_limit OR t.cancel_requested_at IS NOT NULL
                                    THEN now() END,
                error_kind = CASE WHEN {crashes} >= :crash_limit THEN :crash_loop ELSE t.error_kind END,
                error_message = CASE WHEN {crashes} >= :crash_limit THEN :message ELSE t.error_message END,
                revision = t.revision + 1
            FROM lost WHERE t.id = lost.id AND t.claim = lost.claim
        """,
        closing="""
            SELECT r.id, lost.claim, r.attempt, r.worker, r.started_at, lost.died_at, 'crashed',
                   extract(epoch FROM lost.died_at - r.started_at), :worker_died,
                   'the worker process died while it ran this task', NULL, NULL
            FROM applied AS r JOIN lost USING (id) WHERE lost.status = 'started'
        """,
        answer=f"""
            SELECT {CHANGED}, ran
            FROM applied JOIN (SELECT id, status = 'started' AS ran FROM lost) AS taken USING (id)
        """,
    )


#: `died_at` is the latest moment at which the worker can have died: the rescue comes seconds later.
_LOST = f"""
    SELECT t.id, t.claim, t.status, t.suspect AND t.status = 'started' AS crashed,
        greatest(t.started_at, least(now(), interval '{HEARTBEAT_S} s' + (
            SELECT heartbeat_at FROM worker WHERE id = t.holder
        ))) AS died_at
"""

#: Rows held by an id between those of two living workers. The rows of the living ones are not read: until the
#: next vacuum the index has an entry for each task that they ever claimed. `limit` bounds each gap.
RESCUE_ORPHANS = _rescue(f"""
    SELECT lost.* FROM (
        SELECT lag(id, 1, '00000000-0000-0000-0000-000000000000'::uuid) OVER (ORDER BY id) AS low, id AS high
        FROM (
            SELECT id FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
            UNION ALL SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid
        ) AS living
    ) AS gap CROSS JOIN LATERAL (
        {_LOST} FROM task AS t WHERE t.holder > gap.low AND t.holder < gap.high
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS lost
""")

#: Rows of the given workers, unless they live. Unsorted: by id, all tasks of all days would be read.
RESCUE_FROM = _rescue(f"""
    {_LOST}
    FROM task AS t LEFT JOIN worker AS w ON w.id = t.holder AND w.dead_at IS NULL AND w.stopped_at IS NULL
    WHERE t.holder = ANY(:workers::uuid[]) AND w.id IS NULL
    LIMIT :limit FOR UPDATE OF t SKIP LOCKED
""")

#: Lifts the suspicion from a task that has run alone for longer than in any process that died with it. From
#: then on it is no more likely to end its process than any other task. Returns its id.
LIFT = Statement("""
    UPDATE task AS t SET suspect = false
    WHERE t.id = :id AND t.claim = :claim
      AND (t.holder = :worker AND t.suspect AND t.status = 'started') IS TRUE
      AND now() > t.started_at + make_interval(secs => :margin_s + coalesce((
          SELECT max(a.execution_time_seconds) FROM task_attempt AS a
          WHERE a.task_id = t.id AND a.outcome = 'crashed'
      ), 0))
    RETURNING t.id
""")
