"""The tables of schedules and their firings."""

from piccolo.columns import (
    JSONB,
    UUID,
    BigInt,
    Boolean,
    DoublePrecision,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table


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
