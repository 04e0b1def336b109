"""SQL that takes back the tasks of dead workers.

Each of these tasks becomes a suspect: it may have killed its worker, and runs alone next time. The
suspicion can be removed.
"""

from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending

#: Interval of a worker's heartbeats in seconds. A dead worker died at most this long after its last
#: heartbeat.
HEARTBEAT_S = 1


def _rescue(lost: str) -> Ending:
    """Build the statement that takes back the tasks which the query `lost` selects.

    If a suspect (a task that runs alone because a worker died with it) was running when its process
    died, its number of crashes goes up. Every other held task becomes a suspect, without a crash
    being counted. The statement returns the changed tasks, and whether each one was running.
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


#: SQL that selects tasks of dead workers. `died_at` is the latest time at which the worker can have
#: died. The task is only taken back some seconds later.
_LOST = f"""
    SELECT t.id, t.claim, t.status, t.suspect AND t.status = 'started' AS crashed,
        greatest(t.started_at, least(now(), interval '{HEARTBEAT_S} s' + (
            SELECT heartbeat_at FROM worker WHERE id = t.holder
        ))) AS died_at
"""

#: SQL condition for workers that ended within the last hour. Their tasks are taken back by
#: RESCUE_FROM.
ENDED_RECENTLY = "greatest(dead_at, stopped_at) > now() - interval '1 hour'"

#: Takes back the tasks of all workers that neither are alive nor ended recently. It sorts the ids of
#: the latter two kinds, and reads the tasks whose holder is in a gap between two of these ids. It
#: thus avoids the index entries of these workers: until the next vacuum, there is one for each task
#: that they ever claimed. `limit` applies to each gap.
RESCUE_ORPHANS = _rescue(f"""
    SELECT lost.* FROM (
        SELECT lag(id, 1, '00000000-0000-0000-0000-000000000000'::uuid) OVER (ORDER BY id) AS low, id AS high
        FROM (
            SELECT id FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL
            UNION ALL SELECT id FROM worker WHERE {ENDED_RECENTLY}
            UNION ALL SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid
        ) AS known
    ) AS gap CROSS JOIN LATERAL (
        {_LOST} FROM task AS t WHERE t.holder > gap.low AND t.holder < gap.high
        LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS lost
""")

#: Takes back the tasks of the given workers, unless these are alive. The tasks are not sorted,
#: because a sort by id would make Postgres read all tasks of all days.
RESCUE_FROM = _rescue(f"""
    {_LOST}
    FROM task AS t LEFT JOIN worker AS w ON w.id = t.holder AND w.dead_at IS NULL AND w.stopped_at IS NULL
    WHERE t.holder = ANY(:workers::uuid[]) AND w.id IS NULL
    LIMIT :limit FOR UPDATE OF t SKIP LOCKED
""")

#: Removes the suspicion that a task kills its worker, if it has run alone for longer than in any
#: process that died with it. It is then no more likely to kill its process than other tasks.
#: Returns the id of the task.
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
