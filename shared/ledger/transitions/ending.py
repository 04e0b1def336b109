"""Builds every statement that ends or reopens a task, so that what follows an end is written in one place.

Such a statement updates rows of `task` in its CTE `applied`. What an end brings with it is the tail, which
this module adds: the attempt that is over moves to `task_attempt`, the workflow of the task gets an event,
and a failed task gets a row in `task_failure`, by which lists find it. New consequences of an end belong here
and nowhere else.
"""

from shared.ledger.statement import Statement

#: What `applied` returns of each row; the tail and the answer read it.
APPLIED = """
    t.id, t.claim, t.name, t.queue, t.priority, t.status, t.holder, t.attempt, t.worker, t.started_at,
    t.workflow, t.step, t.owner, t.error_fingerprint, t.completed_at, t.revision, t.progress_current,
    t.progress_total, t.progress_message
"""

#: Columns of `task_attempt`, which `closing` selects in this order.
_ATTEMPT = """
    task_id, claim, attempt, worker, started_at, ended_at, outcome, execution_time_seconds,
    error_kind, error_message, error_traceback, error_fingerprint
"""

#: One event for each step whose tasks ended. It takes no lock: a body's own transaction, which may stay open
#: for minutes, may append one. Without tasks of a workflow this costs a microsecond of Postgres' time.
_NOTE_ENDS = """
    , news AS (
        INSERT INTO workflow_event (workflow, step, kind, succeeded, failed, revoked)
        SELECT workflow, step, 'ended', count(*) FILTER (WHERE status = 'success'),
            count(*) FILTER (WHERE status = 'failure'), count(*) FILTER (WHERE status = 'revoked')
        FROM applied WHERE workflow IS NOT NULL AND status IN ('success', 'failure', 'revoked')
        GROUP BY workflow, step
    )
"""
#: A row for each task that failed. A release before this table may have left the row of an earlier failure.
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
#: As `_NOTE_ENDS` for tasks that begin again; their former rows are in a CTE.
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
    """A statement that ends or reopens tasks."""

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
        """Compose the statement.

        `update` is an UPDATE of `task AS t` without RETURNING, `given` holds CTEs that it reads, each
        followed by a comma. `closing` selects the attempts that are over, and `answer` what the caller gets;
        both read `applied` and `given`. A statement that lets tasks begin again names in `reopens` the CTE
        of `given` with their former rows, whose ends an event takes back; with `begins_again` instead, the
        caller has taken them back.
        """
        closed = f"""
            , closed AS (
                INSERT INTO task_attempt ({_ATTEMPT}) {closing} ON CONFLICT DO NOTHING
            )"""
        super().__init__(
            f"""
            WITH {given} applied AS ({update} RETURNING {APPLIED})
            {closed if closing else ""}
            {_NOTE_REOPENED.format(former=reopens) if reopens else _NOTE_ENDS}
            {_FORGET_FAILURES if reopens or begins_again else _NOTE_FAILURES}
            {answer}
            """
        )
