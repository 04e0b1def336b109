"""Builds every statement that ends or reopens a task, so that what follows an end is written in one place.

Such a statement updates rows of `task` in its CTE `applied`. What an end brings with it (today: the attempt
that is over moves to `task_attempt`) is the tail, which this module adds. New consequences of an end belong
here and nowhere else.
"""

from shared.ledger.statement import Statement

#: What `applied` returns of each row; the tail and the answer read it.
APPLIED = """
    t.id, t.claim, t.name, t.queue, t.priority, t.status, t.holder, t.attempt, t.worker, t.started_at
"""

#: Columns of `task_attempt`, which `closing` selects in this order.
_ATTEMPT = """
    task_id, claim, attempt, worker, started_at, ended_at, outcome, execution_time_seconds,
    error_kind, error_message, error_traceback, error_fingerprint
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
        answer: str = "SELECT id, claim FROM applied",
    ) -> None:
        """Compose the statement.

        `update` is an UPDATE of `task AS t` without RETURNING, `given` holds CTEs that it reads, each
        followed by a comma. `closing` selects the attempts that are over, and `answer` what the caller gets;
        both read `applied` and `given`.
        """
        closed = f"""
            , closed AS (
                INSERT INTO task_attempt ({_ATTEMPT}) {closing} ON CONFLICT DO NOTHING
            )"""
        super().__init__(
            f"""
            WITH {given} applied AS ({update} RETURNING {APPLIED})
            {closed if closing else ""}
            {answer}
            """
        )
