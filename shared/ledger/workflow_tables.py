"""The ledger's tables of workflows as Piccolo sees them."""

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Boolean,
    DoublePrecision,
    Integer,
    SmallInt,
    Text,
    Timestamptz,
)
from piccolo.table import Table


class Workflow(Table, tablename="workflow"):
    """A graph of steps; what `shared.workflows.states.Flow` says of it has the same names."""

    id = UUID(primary_key=True)
    name = Text()
    #: running, success, failure or revoked.
    status = Text()
    owner = BigInt(null=True)
    #: go_on or stop.
    on_failure = Text(default="go_on")
    #: One unfinished workflow of this name has this key; see `workflow_key`.
    unique_key = Text(null=True)
    deadline_s = DoublePrecision(null=True)
    deadline_at = Timestamptz(null=True, default=None)
    open_steps = Integer(default=0)
    losses = Integer(default=0)
    cancels = Integer(default=0)
    late = Boolean(default=False)
    stopped = Boolean(default=False)
    cancel_requested_at = Timestamptz(null=True, default=None)
    #: The task whose body began it.
    parent = UUID(null=True, default=None)
    #: The schedule that fired it, and its nominal time.
    schedule = Text(null=True, default=None)
    fire_time = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    completed_at = Timestamptz(null=True, default=None)
    #: The last advance.
    moved_at = Timestamptz()
    #: Goes up with each retry.
    run = Integer(default=1)
    #: Goes up with each advance.
    revision = Integer(default=0)


class WorkflowStep(Table, tablename="workflow_step"):
    """One task or a group of tasks; primary key (workflow, name). See `shared.workflows.states.Step`."""

    workflow = UUID(primary_key=True)
    name = Text()
    position = Integer()
    needs = Array(base_column=Text())
    next = Array(base_column=Text())
    rule = Text()
    k = Integer()
    size = Integer()
    enough = Integer()
    first = Boolean()
    handler = Boolean()
    sink = Boolean()
    #: False: one task, whose id is in `task`.
    grouped = Boolean()
    contract = Text()
    version = SmallInt()
    queue = Text()
    priority = SmallInt()
    max_attempts = SmallInt()
    delay_s = DoublePrecision()
    max_wait_s = DoublePrecision(null=True)
    state = Text(default="waiting")
    succeeded = Integer(default=0)
    failed = Integer(default=0)
    revoked = Integer(default=0)
    #: Parameters of each member until its task exists; sensitive fields are sealed.
    params = JSONB(null=True)
    inputs = JSONB(null=True)
    key_id = Text(null=True)
    task = UUID(null=True, default=None)
    started_at = Timestamptz(null=True, default=None)
    completed_at = Timestamptz(null=True, default=None)


class WorkflowEvent(Table, tablename="workflow_event"):
    """Something happened to a workflow, and `advance` has not applied it yet."""

    id = BigInt(primary_key=True)
    workflow = UUID()
    step = Text(null=True)
    #: ended, reopened, cancel, deadline, cancel_rest, repeat or mend.
    kind = Text()
    #: Members that ended; negative when they were started again.
    succeeded = Integer(default=0)
    failed = Integer(default=0)
    revoked = Integer(default=0)
    created_at = Timestamptz()


class WorkflowKey(Table, tablename="workflow_key"):
    """The unfinished workflow that has a unique key; primary key (name, key)."""

    name = Text(primary_key=True)
    key = Text()
    workflow = UUID()


WORKFLOW_TABLES: tuple[type[Table], ...] = (Workflow, WorkflowStep, WorkflowEvent, WorkflowKey)
