"""The tables of tasks, workers, queues and schedules in Postgres, for Piccolo.

Constraints and indexes are defined in the migrations. `task` and the tables about single tasks are
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

from shared.ledger.workflow_tables import WORKFLOW_TABLES


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


class TaskMinute(_Statistics, Table, tablename="task_minute"):
    """Counts of the attempts that ended within a minute."""

    minute = Timestamptz(primary_key=True)


class TaskHour(_Statistics, Table, tablename="task_hour"):
    """Counts of the attempts that ended within an hour that is at least two days ago."""

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


class Worker(Table, tablename="worker"):
    """A worker process. It gets a new id at each start."""

    id = UUID(primary_key=True)
    hostname = Text()
    pid = Integer()
    queues = Array(base_column=Text())
    threads = SmallInt()
    #: Protocol number of the worker's release; see `shared.ledger.protocol`.
    protocol = SmallInt(default=0)
    #: State of the worker: running, quiet (it takes no new tasks) or draining.
    state = Text(default="running")
    #: Request of an operator to the worker: quiet, drain or recycle (replace its process). The
    #: worker reads it with each heartbeat.
    asked = Text(null=True, default=None)
    #: Release of the worker's code, `shared.release.RELEASE`; null for older releases that did not
    #: write it.
    release = Text(null=True, default=None)
    #: Resident memory of the worker process in bytes at the last heartbeat.
    memory_bytes = BigInt(null=True, default=None)
    #: Key of the advisory lock that the worker holds on a separate connection as long as it lives.
    lock_key = BigInt()
    #: Number that goes up with each heartbeat.
    beat = BigInt(default=0)
    started_at = Timestamptz()
    heartbeat_at = Timestamptz()
    #: Time at which the rescuer declared the worker dead. Anything that the worker writes
    #: afterwards has no effect.
    dead_at = Timestamptz(null=True, default=None)
    #: Time at which the worker ended after a drain. The worker itself writes it.
    stopped_at = Timestamptz(null=True, default=None)


class QueueControl(Table, tablename="queue_control"):
    """The pause of a queue by operators. A queue without a row was never paused."""

    queue = Text(primary_key=True)
    #: Time since which no task of the queue is started; null if the queue is not paused.
    paused_at = Timestamptz(null=True, default=None)
    paused_by = BigInt(null=True, default=None)
    reason = Text(null=True, default=None)
    #: Number that goes up with each change of the row.
    revision = Integer(default=0)


class Schedule(Table, tablename="schedule"):
    """A schedule, which submits a task or a workflow at given times."""

    name = Text(primary_key=True)
    #: Name of the task that the schedule submits; null if it submits a workflow.
    task_name = Text(null=True, default=None)
    #: Name of the workflow that the schedule submits and that code builds; null if it submits a
    #: task.
    workflow = Text(null=True, default=None)
    #: Parameters of the submitted task or workflow. Sensitive fields are encrypted.
    params = JSONB()
    #: Kind of the schedule: cron, interval or once. It determines how `expression` is read (see
    #: `shared.schedules.timetable`).
    kind = Text()
    expression = Text()
    time_zone = Text(default="UTC")
    jitter_s = DoublePrecision(default=0)
    #: What happens to missed times: skip, once or all.
    misfire = Text(default="once")
    misfire_grace_s = DoublePrecision(default=60)
    catch_up_s = DoublePrecision(default=3600)
    #: What happens at a nominal time if an earlier task of the schedule has not ended: "allow"
    #: submits another one, "skip" does not.
    overlap = Text(default="allow")
    #: Priority of the submitted tasks; null means the priority of their contract.
    priority = SmallInt(null=True, default=None)
    #: Id of the operator who created the schedule and owns its tasks; null for a schedule that is
    #: declared in code.
    owner = BigInt(null=True, default=None)
    #: Where the schedule was created: "contract" (declared in code) or "api".
    source = Text(default="api")
    #: Fingerprint of the declaration in code that this row follows; null if it follows none.
    declared = Text(null=True, default=None)
    #: Time at which an operator changed a schedule that is declared in code. Since then, the
    #: schedule no longer follows its declaration.
    overridden_at = Timestamptz(null=True, default=None)
    overridden_by = BigInt(null=True, default=None)
    enabled = Boolean(default=True)
    #: Time at which an operator switched the schedule off; null if it is on, or if it is off
    #: because its declaration was removed from the code.
    paused_at = Timestamptz(null=True, default=None)
    paused_by = BigInt(null=True, default=None)
    #: Time at which the schedule starts, and from which intervals are counted.
    starts_at = Timestamptz()
    #: The next nominal time that has not been handled; null if the schedule does not fire. The
    #: leading scheduler finds due schedules by this column alone.
    next_fire_time = Timestamptz(null=True, default=None)
    last_fire_time = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    #: Number that goes up whenever an operator or a new declaration changes the schedule.
    revision = Integer(default=0)


class ScheduleFiring(Table, tablename="schedule_firing"):
    """What happened at one nominal time of a schedule.

    The row is inserted together with the submitted task. The primary key is (schedule, fire_time).
    """

    schedule = Text(primary_key=True)
    fire_time = Timestamptz()
    task_id = UUID(null=True, default=None)
    workflow_id = UUID(null=True, default=None)
    #: Outcome of the nominal time: submitted, skipped_overlap, skipped_misfire or failed.
    outcome = Text()
    fired_at = Timestamptz()
    #: Reason why nothing was submitted, or the operator who fired the schedule.
    detail = Text(null=True, default=None)


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


class Generation(Table, tablename="generation"):
    """What Redis should contain, according to Postgres. The table has a single row."""

    id = SmallInt(primary_key=True)
    #: Number of the generation, which Redis stores too. If the number in Redis is missing or
    #: different, Redis has lost its lanes.
    number = BigInt()
    #: Run id of Redis at the last successful check. A different run id means that Redis was
    #: restarted.
    run_id = Text(null=True)
    #: Position at which the resending of all tasks to Redis was interrupted: [queue, priority,
    #: sent_at, id].
    resend_cursor = JSONB(null=True)
    checked_at = Timestamptz()
    #: Id of this database. Redis stores it to show which system its data belongs to.
    system = UUID()


class LeaderLease(Table, tablename="leader_lease"):
    """The lease of the leading scheduler.

    Its end is set and compared by the clock of Postgres.
    """

    name = Text(primary_key=True)
    term = BigInt()
    holder = UUID()
    expires_at = Timestamptz()


class CleanupRequest(Table, tablename="cleanup_request"):
    """The request of a cleanup task that the leading scheduler drop old days of tasks.

    No other process has the right to drop days.
    """

    #: Id of the cleanup task that made the request.
    task = UUID(primary_key=True)
    #: Time before which a day must have ended to be dropped.
    cutoff = Timestamptz()
    requested_at = Timestamptz()
    #: Time at which the leading scheduler last worked on the request.
    seen_at = Timestamptz(null=True, default=None)
    #: True if the cleanup task was canceled. The leading scheduler then stops before the next day.
    cancelled = Boolean(default=False)
    #: Number of days that the leading scheduler has finished, and the total number of days.
    done = Integer(default=0)
    days = Integer(default=0)
    #: Result of the cleanup; null until the leading scheduler has finished.
    result = JSONB(null=True, default=None)


class BulkAct(Table, tablename="bulk_act"):
    """A bulk operation: an action on all tasks or workflows that match a filter.

    A task carries it out; see `shared.bulk`.
    """

    id = UUID(primary_key=True)
    #: Id of the task that carries out the operation. Its name is `operations.bulk`.
    task = UUID()
    #: What the operation changes: "task" or "workflow".
    kind = Text()
    #: Action of the operation: a value of `shared.bulk.act.Action`.
    action = Text()
    #: The filter as the operation applies it: a `TaskFilter` or a `WorkflowFilter`.
    filter = JSONB()
    #: The filter as it was requested, which API responses show.
    given = JSONB()
    #: The new values that the operation sets if its action is `change`.
    changes = JSONB(null=True, default=None)
    #: The account that started the operation and how it was signed in, as in the audit log. Before
    #: each chunk, the rights of the account are checked again.
    actor = BigInt()
    credential = Text(null=True, default=None)
    credential_id = UUID(null=True, default=None)
    network = Text(null=True, default=None)
    request_id = Text(null=True, default=None)
    reason = Text(null=True, default=None)
    #: Maximum number of tasks or workflows that the operation processes per second; null means no
    #: limit.
    rate = Integer(null=True, default=None)
    #: Number of matching tasks or workflows when the operation was started. If `exact` is false, it
    #: is a lower bound.
    expected = Integer()
    exact = Boolean()
    #: Id at which the operation ends. Tasks or workflows with this id or a higher one are not
    #: changed.
    until = UUID()
    #: Id up to which the operation has processed all matches. It is written with each chunk.
    cursor = UUID()
    done = BigInt(default=0)
    skipped = BigInt(default=0)
    refused = BigInt(default=0)
    #: Number of refused tasks or workflows, by the reason of the refusal.
    refusals = JSONB(default="{}")
    #: Time before which the rate limit does not allow the next chunk.
    not_before = Timestamptz()
    created_at = Timestamptz()
    #: Time at which an account asked the operation to stop.
    stopped_at = Timestamptz(null=True, default=None)
    ended_at = Timestamptz(null=True, default=None)
    #: How the operation ended: completed, stopped or forbidden; null while it has not ended.
    outcome = Text(null=True, default=None)


TABLES: tuple[type[Table], ...] = (
    Task,
    TaskAttempt,
    TaskLog,
    TaskFailure,
    TaskMinute,
    TaskHour,
    ErrorGroup,
    ErrorHour,
    Worker,
    QueueControl,
    Schedule,
    ScheduleFiring,
    *WORKFLOW_TABLES,
    SubmissionKey,
    Generation,
    LeaderLease,
    CleanupRequest,
    BulkAct,
)
