"""Builds every SQL statement that ends or reopens a task.

All consequences of an end are therefore written in one place. Such a statement updates rows of
`task` in its CTE `applied`. This module appends the SQL for the consequences: the attempt moves to
`task_attempt`, the workflow of the task gets an event, and a failed task gets a row in
`task_failure`, by which lists find it. New consequences of an end must be added here and nowhere
else.
"""

from shared.ledger.statement import Statement

#: Columns that the CTE `applied` returns for each changed task. The appended SQL and the result of
#: the statement use them.
APPLIED = """
    t.id, t.claim, t.name, t.queue, t.priority, t.status, t.holder, t.attempt, t.worker, t.started_at,
    t.workflow, t.step, t.owner, t.error_fingerprint, t.completed_at, t.revision, t.progress_current,
    t.progress_total, t.progress_message
"""

#: Columns of `task_attempt`, in the order in which the argument `closing` selects them.
_ATTEMPT = """
    task_id, claim, attempt, worker, started_at, ended_at, outcome, execution_time_seconds,
    error_kind, error_message, error_traceback, error_fingerprint
"""

#: SQL that appends one workflow event for each step whose tasks ended. It takes no lock, so that a
#: transaction of a task body, which may stay open for minutes, can append one too. If no task
#: belongs to a workflow, it costs Postgres a microsecond.
_NOTE_ENDS = """
    , news AS (
        INSERT INTO workflow_event (workflow, step, kind, succeeded, failed, revoked)
        SELECT workflow, step, 'ended', count(*) FILTER (WHERE status = 'success'),
            count(*) FILTER (WHERE status = 'failure'), count(*) FILTER (WHERE status = 'revoked')
        FROM applied WHERE workflow IS NOT NULL AND status IN ('success', 'failure', 'revoked')
        GROUP BY workflow, step
    )
"""
#: SQL that adds a row to `task_failure` for each failed task. The row of an earlier failure may
#: exist, if a release that does not know this table reopened the task.
_NOTE_FAILURES = """
    , failures AS (
        INSERT INTO task_failure (task_id, name, queue, owner, fingerprint, failed_at)
        SELECT id, name, queue, owner, error_fingerprint, completed_at FROM applied WHERE status = 'failure'
        ON CONFLICT (task_id) DO UPDATE
            SET fingerprint = excluded.fingerprint, failed_at = excluded.failed_at
    )
"""
_FORGET_FAILURES = """
    , failures AS (DELETE FROM task_failure AS f USING applied WHERE f.task_id = applied.id)
"""
#: SQL that appends a workflow event for each step whose tasks are reopened. The event takes their
#: earlier ends back. The rows of the tasks before the change are in the CTE `{former}`.
_NOTE_REOPENED = """
    , news AS (
        INSERT INTO workflow_event (workflow, step, kind, succeeded, failed, revoked)
        SELECT f.workflow, f.step, 'reopened', -count(*) FILTER (WHERE f.status = 'success'),
            -count(*) FILTER (WHERE f.status = 'failure'), -count(*) FILTER (WHERE f.status = 'revoked')
        FROM {former} AS f JOIN applied ON applied.id = f.id WHERE f.workflow IS NOT NULL
        GROUP BY f.workflow, f.step
    )
"""


class Ending(Statement):
    """An SQL statement that ends or reopens tasks."""

    __slots__ = ()

    def __init__(
        self,
        *,
        update: str,
        given: str = "",
        closing: str = "",
        reopens: str = "",
        begins_again: bool = False,
        answer: str = "SELECT id, claim FROM applied",
    ) -> None:
        """Compose the statement from the SQL of its parts.

        `update` is an UPDATE of `task AS t` without RETURNING. `given` contains the CTEs that it
        reads, each followed by a comma. `closing` selects the attempts that are over, and `answer`
        selects the result; both read `applied` and `given`. A statement that reopens tasks sets
        `reopens` to the name of the CTE in `given` that has the rows before the change, and an
        event then takes their ends back. It sets `begins_again` instead if the caller has already
        taken the ends back, or if the tasks belong to no workflow.
        """
        closed = f"""
            , closed AS (
                INSERT INTO task_attempt ({_ATTEMPT}) {closing} ON CONFLICT DO NOTHING
            )"""
        news = _NOTE_REOPENED.format(former=reopens) if reopens else _NOTE_ENDS
        super().__init__(
            f"""
            WITH {given} applied AS ({update} RETURNING {APPLIED})
            {closed if closing else ""}
            {"" if begins_again else news}
            {_FORGET_FAILURES if reopens or begins_again else _NOTE_FAILURES}
            {answer}
            """
        )
