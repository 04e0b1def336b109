"""The tables of statistics, and of errors grouped by their cause."""

from piccolo.columns import UUID, Array, BigInt, DoublePrecision, Text, Timestamptz
from piccolo.table import Table


class _Statistics:
    """Counts of the attempts that ended in a period.

    The primary key is the period, queue, name and outcome.
    """

    queue = Text()
    name = Text()
    #: Outcome of the counted attempts: success, failure, revoked or retry.
    outcome = Text()
    n = BigInt()
    wait_s = DoublePrecision()
    run_s = DoublePrecision()
    max_run_s = DoublePrecision()
    #: Number of attempts in each bucket of the histograms of waiting times and run times.
    wait_hist = Array(base_column=BigInt())
    run_hist = Array(base_column=BigInt())
    #: Number of attempts in each of the two histograms. Postgres computes them.
    waited = BigInt(null=True)
    ran = BigInt(null=True)


class TaskMinute(_Statistics, Table, tablename="task_minute"):
    """Counts of the attempts that ended within a minute of the last two days."""

    minute = Timestamptz(primary_key=True)


class TaskHour(_Statistics, Table, tablename="task_hour"):
    """Counts of the attempts that ended within an hour. They are stored when the hour is over."""

    hour = Timestamptz(primary_key=True)


class ErrorGroup(Table, tablename="error_group"):
    """A group of failed attempts with the same cause, and the decision of operators about it."""

    fingerprint = Text(primary_key=True)
    #: Name of the kind of task whose attempts failed.
    name = Text()
    #: Kind of the error in the last failed attempt; see `shared.ledger.lifecycle.ErrorKind`.
    kind = Text()
    #: Qualified name of the class of the exception that was the first cause; null if the failure
    #: was not raised by a task body.
    type = Text(null=True)
    #: Module and function of the application's code in which the error occurred: the innermost such
    #: frame.
    place = Text(null=True)
    #: Error message of the last failed attempt, without sensitive values; null after the account of
    #: its task was erased.
    message = Text(null=True)
    #: Id of the task to which the last failed attempt belongs.
    sample_task = UUID()
    first_at = Timestamptz()
    last_at = Timestamptz()
    first_release = Text()
    #: The newest release in which the error occurred.
    last_release = Text()
    #: State of the group: open, acknowledged, muted, resolved or regressed.
    state = Text(default="open")
    #: Time at which a muted group becomes open again; null if it remains muted.
    until = Timestamptz(null=True, default=None)
    note = Text(null=True, default=None)
    changed_at = Timestamptz(null=True, default=None)
    changed_by = BigInt(null=True, default=None)


class ErrorHour(Table, tablename="error_hour"):
    """Counts of the failed attempts of an error group in one hour.

    The primary key is (fingerprint, hour).
    """

    fingerprint = Text(primary_key=True)
    hour = Timestamptz()
    #: Number of attempts of the error group that failed in this hour.
    attempts = BigInt()
    #: Number of these attempts after which the task failed permanently.
    tasks = BigInt()
