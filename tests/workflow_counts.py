"""Compares what is stored about workflows with their tasks."""

#: Compares the counts of each step, with the events that are not applied, with its tasks by status.
COUNTS = """
    SELECT s.workflow, s.name, s.size, s.started_at IS NOT NULL AS begun,
        ARRAY[s.succeeded + coalesce(e.succeeded, 0), s.failed + coalesce(e.failed, 0),
              s.revoked + coalesce(e.revoked, 0)] AS counted,
        ARRAY[count(t.id) FILTER (WHERE t.status = 'success'),
              count(t.id) FILTER (WHERE t.status = 'failure'),
              count(t.id) FILTER (WHERE t.status = 'revoked')] AS found,
        count(t.id) AS tasks, count(DISTINCT coalesce(t.member, 0)) FILTER (WHERE t.id IS NOT NULL) AS members
    FROM workflow_step AS s LEFT JOIN task AS t ON t.workflow = s.workflow AND t.step = s.name LEFT JOIN (
        SELECT workflow, step, sum(succeeded) AS succeeded, sum(failed) AS failed, sum(revoked) AS revoked
        FROM workflow_event GROUP BY workflow, step
    ) AS e ON e.workflow = s.workflow AND e.step = s.name
    GROUP BY s.workflow, s.name, e.succeeded, e.failed, e.revoked
"""
#: Workflows without events whose tasks do not fit their status.
WRONG_ENDS = """
    SELECT w.id, w.status, count(t.id) FILTER (WHERE t.completed_at IS NULL) AS open_tasks
    FROM workflow AS w LEFT JOIN task AS t ON t.workflow = w.id
    WHERE NOT EXISTS (SELECT 1 FROM workflow_event AS e WHERE e.workflow = w.id)
    GROUP BY w.id
    HAVING (w.completed_at IS NULL) <> (count(t.id) FILTER (WHERE t.completed_at IS NULL) > 0)
"""
