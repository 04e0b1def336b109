"""The tables of workflows, their steps, events and unique keys."""

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
    """A workflow, which is a graph of steps.

    Some columns have the names of fields in `shared.workflows.states.Flow`.
    """

    id = UUID(primary_key=True)
    name = Text()
    #: Status of the workflow: running, success, failure or revoked.
    status = Text()
    owner = BigInt(null=True)
    #: What a failed step means for steps that do not need it: "go_on" lets them run, "stop" does
    #: not.
    on_failure = Text(default="go_on")
    #: Key that at most one unfinished workflow with the same name may have; see `workflow_key`.
    unique_key = Text(null=True)
    deadline_s = DoublePrecision(null=True)
    deadline_at = Timestamptz(null=True, default=None)
    open_steps = Integer(default=0)
    losses = Integer(default=0)
    cancels = Integer(default=0)
    late = Boolean(default=False)
    stopped = Boolean(default=False)
    cancel_requested_at = Timestamptz(null=True, default=None)
    #: Id of the task whose body started the workflow; null if no task did.
    parent = UUID(null=True, default=None)
    #: Name of the schedule that started the workflow, and the nominal time; null if no schedule
    #: did.
    schedule = Text(null=True, default=None)
    fire_time = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    completed_at = Timestamptz(null=True, default=None)
    #: Time at which the workflow was last advanced or retried.
    moved_at = Timestamptz()
    #: Number of the workflow's run. It goes up with each retry of the workflow.
    run = Integer(default=1)
    #: Number that goes up each time the workflow is advanced.
    revision = Integer(default=0)
    #: Trace span in which the workflow was submitted; null for a workflow that is not traced.
    trace_context = Text(null=True, default=None)


class WorkflowStep(Table, tablename="workflow_step"):
    """A step of a workflow: one task, or a group of tasks.

    The primary key is (workflow, name). See `shared.workflows.states.Step`.
    """

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
    #: True for a step that is a group of tasks. False for a single task.
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
    #: Parameters of each task of the step until the task exists. Sensitive fields are encrypted.
    params = JSONB(null=True)
    inputs = JSONB(null=True)
    key_id = Text(null=True)
    #: Ids of the first and the last task of the step, which are the same for a single task. All tasks
    #: with ids between them belong to the step; see `shared.ledger.members`. Null until the tasks
    #: exist, and for an empty group.
    task = UUID(null=True, default=None)
    last_task = UUID(null=True, default=None)
    started_at = Timestamptz(null=True, default=None)
    completed_at = Timestamptz(null=True, default=None)


class WorkflowEvent(Table, tablename="workflow_event"):
    """An event that has not been applied to its workflow yet."""

    id = BigInt(primary_key=True)
    workflow = UUID()
    step = Text(null=True)
    #: Kind of the event: ended, reopened, cancel, deadline, cancel_rest, repeat or mend.
    kind = Text()
    #: Number of tasks that ended, by status. The numbers are negative if tasks were reopened.
    succeeded = Integer(default=0)
    failed = Integer(default=0)
    revoked = Integer(default=0)
    created_at = Timestamptz()


class WorkflowKey(Table, tablename="workflow_key"):
    """A unique key, and the unfinished workflow that has it. The primary key is (name, key)."""

    name = Text(primary_key=True)
    key = Text()
    workflow = UUID()
