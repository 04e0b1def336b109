"""The ledger's tables as Piccolo sees them. What Postgres enforces stands in `migrations`.

`task` and the tables of single tasks are partitioned by the day in the task's id (see `partitions.py`).
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
    """One task, one row. A row that is not final is in exactly one place: send_at, sent_at or holder."""

    #: UUIDv7 of the database's clock; also the partition key.
    id = UUID(primary_key=True)
    name = Text()
    #: Category, the area of the name.
    type = Text()
    contract_version = SmallInt()
    queue = Text()
    #: 0 to 9, 9 first.
    priority = SmallInt(default=5)
    #: One of `lifecycle.Status`.
    status = Text(default="pending")
    params = JSONB()
    result = JSONB(null=True)
    #: Key that encrypted sensitive fields of params and result; null when there are none.
    key_id = Text(null=True)
    error_kind = Text(null=True)
    error_message = Text(null=True)
    error_traceback = Text(null=True)
    #: Same cause, same fingerprint.
    error_fingerprint = Text(null=True)
    progress_current = Integer(default=0)
    progress_total = Integer(default=100)
    progress_message = Text(null=True)
    #: Place 1: waits in Postgres until then.
    send_at = Timestamptz(null=True, default=None)
    #: Place 2: its id is in a Redis lane since then.
    sent_at = Timestamptz(null=True, default=None)
    #: Place 3: this worker process has it.
    holder = UUID(null=True, default=None)
    #: The fence: goes up with each claim and each rescue.
    claim = Integer(default=0)
    #: Who claimed it last; stays when the task has ended.
    worker = UUID(null=True, default=None)
    #: Starts so far.
    attempt = Integer(default=0)
    #: Attempts that ended in an error, counted against max_attempts.
    failures = Integer(default=0)
    max_attempts = SmallInt(default=1)
    #: Deaths of a process in which it ran alone.
    crashes = Integer(default=0)
    #: Starts that a drain or a worker's death cut short; counted against nothing.
    interruptions = Integer(default=0)
    #: Its last claim ended in a death: it next runs alone.
    suspect = Boolean(default=False)
    #: Why it waits, where that is not its own time: parked, paused, limited.
    wait_reason = Text(null=True)
    created_at = Timestamptz()
    claimed_at = Timestamptz(null=True, default=None)
    started_at = Timestamptz(null=True, default=None)
    completed_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=True, default=None)
    execution_time_seconds = DoublePrecision(null=True)
    #: User who submitted it; null for the platform itself.
    owner = BigInt(null=True)
    parent = UUID(null=True, default=None)
    #: The workflow and the step that it belongs to, and its number in the step's group.
    workflow = UUID(null=True, default=None)
    step = Text(null=True)
    member = Integer(null=True, default=None)
    #: Parameters that are read from other steps when the body begins.
    inputs = JSONB(null=True, default=None)
    schedule = Text(null=True)
    fire_time = Timestamptz(null=True, default=None)
    limit_key = Text(null=True)
    unique_key = Text(null=True)
    cancel_requested_at = Timestamptz(null=True, default=None)
    #: Goes up with each visible change.
    revision = Integer(default=0)
    trace_context = Text(null=True)


class TaskAttempt(Table, tablename="task_attempt"):
    """An attempt that was not the last (that one stands in `task`); primary key (task_id, claim)."""

    task_id = UUID(primary_key=True)
    claim = Integer()
    attempt = Integer()
    worker = UUID(null=True, default=None)
    started_at = Timestamptz(null=True, default=None)
    ended_at = Timestamptz()
    #: retry, interrupted or crashed.
    outcome = Text()
    execution_time_seconds = DoublePrecision(null=True)
    error_kind = Text(null=True)
    error_message = Text(null=True)
    error_traceback = Text(null=True)
    error_fingerprint = Text(null=True)


class TaskLog(Table, tablename="task_log"):
    """A line that the task's body logged; primary key (task_id, claim, ordinal)."""

    task_id = UUID(primary_key=True)
    claim = Integer()
    ordinal = Integer()
    logged_at = Timestamptz()
    level = Text()
    message = Text()


class TaskFailure(Table, tablename="task_failure"):
    """A task that has failed for good, for lists: they find few failures among many tasks."""

    task_id = UUID(primary_key=True)
    name = Text()
    queue = Text()
    owner = BigInt(null=True)
    fingerprint = Text(null=True)
    failed_at = Timestamptz()


class _Statistics:
    """Attempts that ended in a span of time, which is their primary key with queue, name and outcome."""

    queue = Text()
    name = Text()
    #: success, failure, revoked or retry.
    outcome = Text()
    n = BigInt()
    wait_s = DoublePrecision()
    run_s = DoublePrecision()
    max_run_s = DoublePrecision()
    #: Counts by the buckets of the metrics.
    wait_hist = Array(base_column=BigInt())
    run_hist = Array(base_column=BigInt())


class TaskMinute(_Statistics, Table, tablename="task_minute"):
    """Attempts that ended in a minute."""

    minute = Timestamptz(primary_key=True)


class TaskHour(_Statistics, Table, tablename="task_hour"):
    """Attempts that ended in an hour of earlier days."""

    hour = Timestamptz(primary_key=True)


class Worker(Table, tablename="worker"):
    """A worker process; a new id at each start."""

    id = UUID(primary_key=True)
    hostname = Text()
    pid = Integer()
    queues = Array(base_column=Text())
    threads = SmallInt()
    #: Number of what this release can do; see `shared.ledger.protocol`.
    protocol = SmallInt(default=0)
    #: running, quiet (it takes nothing new) or draining.
    state = Text(default="running")
    #: The operator's request: quiet, drain or recycle. The worker reads it with each heartbeat.
    asked = Text(null=True, default=None)
    #: `shared.release.RELEASE` of its code; null for older ones.
    release = Text(null=True, default=None)
    #: Resident size of the process at the last heartbeat.
    memory_bytes = BigInt(null=True, default=None)
    #: Key of the advisory lock that it holds on a connection of its own while it lives.
    lock_key = BigInt()
    #: Goes up with each heartbeat.
    beat = BigInt(default=0)
    started_at = Timestamptz()
    heartbeat_at = Timestamptz()
    #: Set by the rescuer; from then on nothing that it writes counts.
    dead_at = Timestamptz(null=True, default=None)
    #: Set by itself after a drain.
    stopped_at = Timestamptz(null=True, default=None)


class QueueControl(Table, tablename="queue_control"):
    """What operators decided about a queue; a queue without a row was never paused."""

    queue = Text(primary_key=True)
    #: No task of it starts since then; null when it is not paused.
    paused_at = Timestamptz(null=True, default=None)
    paused_by = BigInt(null=True, default=None)
    reason = Text(null=True, default=None)
    #: Goes up with each change.
    revision = Integer(default=0)


class Schedule(Table, tablename="schedule"):
    """When a task or a workflow is submitted by the clock."""

    name = Text(primary_key=True)
    #: Null for a workflow.
    task_name = Text(null=True, default=None)
    #: The name of the workflow, which is built by code; null for a task.
    workflow = Text(null=True, default=None)
    #: Sensitive fields are sealed.
    params = JSONB()
    #: cron, interval or once; `expression` reads accordingly (see `shared.schedules.timetable`).
    kind = Text()
    expression = Text()
    time_zone = Text(default="UTC")
    jitter_s = DoublePrecision(default=0)
    #: skip, once or all: what is done about missed times.
    misfire = Text(default="once")
    misfire_grace_s = DoublePrecision(default=60)
    catch_up_s = DoublePrecision(default=3600)
    #: allow, or skip while an earlier task of it is not final.
    overlap = Text(default="allow")
    #: Null: the contract's.
    priority = SmallInt(null=True, default=None)
    #: Who made it; owns its tasks. Null for a contract's.
    owner = BigInt(null=True, default=None)
    #: contract or api.
    source = Text(default="api")
    #: Of a contract's schedule: fingerprint of the declaration that this row follows.
    declared = Text(null=True, default=None)
    #: An operator changed a contract's schedule: from then on it follows the contract no longer.
    overridden_at = Timestamptz(null=True, default=None)
    overridden_by = BigInt(null=True, default=None)
    enabled = Boolean(default=True)
    #: An operator switched it off; null when it is off because its contract is gone.
    paused_at = Timestamptz(null=True, default=None)
    paused_by = BigInt(null=True, default=None)
    #: Intervals are counted from here.
    starts_at = Timestamptz()
    #: The next nominal time that is not done; null when it does not fire. All that the leader reads.
    next_fire_time = Timestamptz(null=True, default=None)
    last_fire_time = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    #: Goes up with each change by an operator or a contract.
    revision = Integer(default=0)


class ScheduleFiring(Table, tablename="schedule_firing"):
    """What became of a nominal time, inserted with its task; primary key (schedule, fire_time)."""

    schedule = Text(primary_key=True)
    fire_time = Timestamptz()
    task_id = UUID(null=True, default=None)
    workflow_id = UUID(null=True, default=None)
    #: submitted, skipped_overlap, skipped_misfire or failed.
    outcome = Text()
    fired_at = Timestamptz()
    #: Why nothing was submitted, or by whose hand it was.
    detail = Text(null=True, default=None)


class SubmissionKey(Table, tablename="submission_key"):
    """A key under which a task may be submitted once; primary key (scope, key).

    Scope is `owner:<user id>` for clients and `task:<task id>` for a task's children.
    """

    scope = Text(primary_key=True)
    key = Text()
    #: In the order of the submission.
    task_ids = Array(base_column=UUID())
    #: Keyed hash of route and canonical body; null for children.
    body_hash = Bytea(null=True)
    created_at = Timestamptz()


class Generation(Table, tablename="generation"):
    """What Redis is believed to hold: one row."""

    id = SmallInt(primary_key=True)
    #: The same number lies in Redis; another or none there means that Redis lost its lanes.
    number = BigInt()
    #: Redis' run id at the last good check; another one means a restart.
    run_id = Text(null=True)
    #: Where an unfinished re-send goes on: [queue, priority, sent_at, id].
    resend_cursor = JSONB(null=True)
    checked_at = Timestamptz()
    #: The id of this ledger, which Redis carries as the owner of its database.
    system = UUID()


class LeaderLease(Table, tablename="leader_lease"):
    """Who leads; compared and set by database time."""

    name = Text(primary_key=True)
    term = BigInt()
    holder = UUID()
    expires_at = Timestamptz()


class CleanupRequest(Table, tablename="cleanup_request"):
    """A running cleanup that waits for the leading scheduler, which alone may drop days."""

    #: The task that asks.
    task = UUID(primary_key=True)
    #: Whole days before this moment go.
    cutoff = Timestamptz()
    requested_at = Timestamptz()
    #: The leader works on it, or did at this moment.
    seen_at = Timestamptz(null=True, default=None)
    #: The task was canceled: the leader stops before the next day.
    cancelled = Boolean(default=False)
    #: Days that the leader has looked at, of `days`.
    done = Integer(default=0)
    days = Integer(default=0)
    #: The outcome; null until the leader is done.
    result = JSONB(null=True, default=None)


TABLES: tuple[type[Table], ...] = (
    Task,
    TaskAttempt,
    TaskLog,
    TaskFailure,
    TaskMinute,
    TaskHour,
    Worker,
    QueueControl,
    Schedule,
    ScheduleFiring,
    *WORKFLOW_TABLES,
    SubmissionKey,
    Generation,
    LeaderLease,
    CleanupRequest,
)
