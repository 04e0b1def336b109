"""Adds what tasks need that tests have assigned to a workflow by writing their rows."""

#: SQL that adds the missing workflows and steps of tasks. The ids of the tasks of a step must be
#: consecutive, without any other task between them.
ADD_STEPS = """
    WITH flows AS (
        INSERT INTO workflow (id, name, status)
        SELECT DISTINCT workflow, 'test', 'running' FROM task WHERE workflow IS NOT NULL
        ON CONFLICT DO NOTHING
    )
    INSERT INTO workflow_step (workflow, name, position, needs, next, rule, k, size, enough, first, handler,
                               sink, grouped, contract, version, queue, priority, max_attempts, delay_s,
                               task, last_task)
    SELECT workflow, step, 0, ARRAY[]::text[], ARRAY[]::text[], 'all', 0, count(*), count(*), false, false,
           true, true, 'sample.instant', 1, 'default', 5, 1, 0, (array_agg(id ORDER BY id))[1],
           (array_agg(id ORDER BY id DESC))[1]
    FROM task WHERE workflow IS NOT NULL GROUP BY workflow, step
    ON CONFLICT DO NOTHING
"""
