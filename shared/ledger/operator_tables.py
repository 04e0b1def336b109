"""The tables of what operators decide: pauses of queues, and bulk operations."""

from piccolo.columns import JSONB, UUID, BigInt, Boolean, Integer, Text, Timestamptz
from piccolo.table import Table


class QueueControl(Table, tablename="queue_control"):
    """The pause of a queue by operators. A queue without a row was never paused."""

    queue = Text(primary_key=True)
    #: Time since which no task of the queue is started; null if the queue is not paused.
    paused_at = Timestamptz(null=True, default=None)
    paused_by = BigInt(null=True, default=None)
    reason = Text(null=True, default=None)
    #: Number that goes up with each change of the row.
    revision = Integer(default=0)


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
