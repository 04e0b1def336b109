"""The tables of tasks, their attempts, log lines and failures, and of idempotency keys.

Constraints and indexes are defined in the migrations. Except for idempotency keys, the tables are
partitioned by the day in the task's id (see `partitions.py`).
"""

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    Bytea,
    DoublePrecision,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table


class Task(Table, tablename="task"):
    """A task.

    An unfinished task is in exactly one place: it waits in Postgres (`send_at`), its id is in a
    lane in Redis (`sent_at`), or a worker holds it (`holder`).
    """

    #: Id of the task: a UUIDv7 with the time of the database's clock. It is also the partition key.
    id = UUID(primary_key=True)
    name = Text()
    #: Category of the task: the first part of its name.
    type = Text()
    contract_version = SmallInt()
    queue = Text()
    #: Priority of the task from 0 to 9. Tasks with priority 9 are served first.
    priority = SmallInt(default=5)
    #: Status of the task: a value of `lifecycle.Status`.
    status = Text(default="pending")
    params = JSONB()
    result = JSONB(null=True)
    #: Id of the key that encrypted the sensitive fields of `params` and `result`; null if there are
    #: none.
    key_id = Text(null=True)
    error_kind = Text(null=True)
    error_message = Text(null=True)
    error_traceback = Text(null=True)
    #: Identifies the cause of the error. Errors with the same cause have the same fingerprint.
    error_fingerprint = Text(null=True)
    progress_current = Integer(default=0)
    progress_total = Integer(default=100)
    progress_message = Text(null=True)
    #: Time until which the task waits in Postgres; null if it does not wait there.
    send_at = Timestamptz(null=True, default=None)
    #: Time since which the task's id has been in a Redis lane (the list of one queue and priority);
    #: null if it is not there.
    sent_at = Timestamptz(null=True, default=None)
    #: Id of the worker process that holds the task; null if no worker does.
    holder = UUID(null=True, default=None)
    #: Number of the latest claim (a worker's right to the task). It goes up when a worker claims
    #: the task and when the task is taken back. A write with an older number changes nothing.
    claim = Integer(default=0)
    #: Id of the worker that claimed the task last. It remains after the task has ended.
    worker = UUID(null=True, default=None)
    #: Number of times that the task was started.
    attempt = Integer(default=0)
    #: Number of attempts that ended in an error. The task fails when it reaches max_attempts.
    failures = Integer(default=0)
    max_attempts = SmallInt(default=1)
    #: Number of worker processes that died while this task ran alone in them.
    crashes = Integer(default=0)
    #: Number of attempts that were interrupted because their worker drained or died. They count
    #: toward no limit.
    interruptions = Integer(default=0)
    #: True if the last worker died while it held the task, because the task may be the cause. It
    #: then runs alone next time.
    suspect = Boolean(default=False)
    #: Why the task waits, if not for its time: it is parked (no worker knows it), its queue is
    #: paused, or a limit applies.
    wait_reason = Text(null=True)
    created_at = Timestamptz()
    claimed_at = Timestamptz(null=True, default=None)
    started_at = Timestamptz(null=True, default=None)
    completed_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=True, default=None)
    execution_time_seconds = DoublePrecision(null=True)
    #: Id of the account that submitted the task; null if the platform submitted it.
    owner = BigInt(null=True)
    parent = UUID(null=True, default=None)
    #: Id of the workflow and name of the step to which the task belongs, and the task's position in
    #: the group of that step; null if there are none.
    workflow = UUID(null=True, default=None)
    step = Text(null=True)
    member = Integer(null=True, default=None)
    #: Parameters that are read from the results of other steps when the task starts.
    inputs = JSONB(null=True, default=None)
    schedule = Text(null=True)
    fire_time = Timestamptz(null=True, default=None)
    limit_key = Text(null=True)
    unique_key = Text(null=True)
    cancel_requested_at = Timestamptz(null=True, default=None)
    #: Number that goes up with each change of the task that clients can see.
    revision = Integer(default=0)
    #: Trace spans to which the next attempt is linked; null for a task that is not traced. See
    #: `shared.telemetry.tracing`.
    trace_context = Text(null=True)


class TaskAttempt(Table, tablename="task_attempt"):
    """An earlier attempt of a task.

    The last attempt is stored in the row of the task. The primary key is (task_id, claim).
    """

    task_id = UUID(primary_key=True)
    claim = Integer()
    attempt = Integer()
    worker = UUID(null=True, default=None)
    started_at = Timestamptz(null=True, default=None)
    ended_at = Timestamptz()
    #: How the attempt ended: retry, interrupted or crashed. If the task was later reopened, also
    #: success, failure or revoked.
    outcome = Text()
    execution_time_seconds = DoublePrecision(null=True)
    error_kind = Text(null=True)
    error_message = Text(null=True)
    error_traceback = Text(null=True)
    error_fingerprint = Text(null=True)


class TaskLog(Table, tablename="task_log"):
    """A log line that a task body has written. The primary key is (task_id, claim, ordinal)."""

    task_id = UUID(primary_key=True)
    claim = Integer()
    ordinal = Integer()
    logged_at = Timestamptz()
    level = Text()
    message = Text()


class TaskFailure(Table, tablename="task_failure"):
    """A task that has failed permanently.

    This table is small, so lists find failed tasks in it without reading other tasks.
    """

    task_id = UUID(primary_key=True)
    name = Text()
    queue = Text()
    owner = BigInt(null=True)
    fingerprint = Text(null=True)
    failed_at = Timestamptz()


class SubmissionKey(Table, tablename="submission_key"):
    """An idempotency key, under which a submission is stored only once.

    The primary key is (scope, key). The scope is `owner:<user id>` for clients and `task:<task id>`
    for the children of a task.
    """

    scope = Text(primary_key=True)
    key = Text()
    #: Ids of the tasks that were submitted under the key, in the order of the submission.
    task_ids = Array(base_column=UUID())
    #: Keyed hash of the route and the canonical body of the request, by which another request with
    #: the same key is refused; null for child tasks.
    body_hash = Bytea(null=True)
    created_at = Timestamptz()
