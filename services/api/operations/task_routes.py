"""What is done to one task beside canceling and retrying it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.operations import stacks
from services.api.operations.refusals import BelongsToWorkflow, EditRestricted, NotInCrashLoop, TaskNotWaiting
from services.api.operations.schemas import ReasonBody, RunNowBody, TaskStacks
from services.api.tasks import task_acts
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import Submitted, TaskChange, TaskChanged
from services.api.tasks.submissions import EPOCH
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.transport import events
from shared.transport.queues import Queues

#: Fields that users may change in their own tasks.
OF_USERS = frozenset({"priority"})


@patch(
    "/tasks/{task_id:uuid}",
    summary="Change a task that waits",
    operation_class=example({"priority": 9, "reason": "a customer waits for it"}),
    description="Users change the priority of their own tasks, up to that of their role. The contract checks "
    "new parameters. A task that a worker has cannot be changed.",
    responses=documented(400, 401, 403, 404, 409, 413, 422),
)
async def change(
    task_id: FromPath[UUID],
    data: JSONBody[TaskChange],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    edits: NamedDependency[Edits],
    publisher: NamedDependency[events.Publisher],
) -> TaskChanged:
    task = await ledger.find(task_id, reader)
    _check_fields(data, reader)
    _check_time(data.send_at, task, database.now())
    edit = await edits.checked(
        task, reader, params=data.params, queue=data.queue, priority=data.priority, reason=data.reason
    )
    send_at = max(data.send_at, EPOCH) if data.send_at else None
    row = await task_acts.change(database, task, edit, send_at, reader)
    if row is None:
        raise TaskNotWaiting((await ledger.find(task_id, reader))["status"])
    publisher.soon(lambda: events.Changes([events.TaskChange.from_row(row)]))
    return TaskChanged(task_id, row["status"], row["queue"], row["priority"], row["send_at"])


@post(
    "/tasks/{task_id:uuid}/run-now",
    summary="Start a delayed task or a retry now",
    operation_class=example({"past_pause": True, "reason": "does the provider answer again?"}, optional=True),
    description="With `past_pause` a task of a paused queue starts all the same. If no worker takes it "
    "within an hour, or Redis is wiped before, it waits for the end of the pause; its retries do so, too.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def run_now(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    queues: NamedDependency[Queues],
    publisher: NamedDependency[events.Publisher],
    data: JSONBody[RunNowBody | None] = None,
) -> Submitted:
    task, wanted = await ledger.find(task_id, reader), data or RunNowBody()
    row = await task_acts.run_now(database, task, reader, past_pause=wanted.past_pause, reason=wanted.reason)
    if row is None:
        raise TaskNotWaiting((await ledger.find(task_id, reader))["status"])
    publisher.soon(lambda: events.Changes([events.TaskChange.from_row(row)]))
    if not row["paused"]:
        return Submitted(task_id, row["status"], "The task starts as soon as a worker is free.")
    if not wanted.past_pause:
        message = (
            f"The queue {row['queue']} is paused, so the task waits. Send past_pause to run it all the same."
        )
        return Submitted(task_id, row["status"], message)
    await queues.push_past(row["queue"], task_id)
    return Submitted(task_id, row["status"], "The task starts past the pause as soon as a worker is free.")


@post(
    "/tasks/{task_id:uuid}/release",
    summary="Release a task from a crash loop",
    operation_class=example({"reason": "its input is repaired"}, optional=True),
    description="It begins again, counted from zero. For a task that was given up because it kills workers.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def release(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    publisher: NamedDependency[events.Publisher],
    data: JSONBody[ReasonBody | None] = None,
) -> Submitted:
    task = await ledger.find(task_id, reader)
    if task["workflow"] is not None:
        raise BelongsToWorkflow(task_id)
    row = await task_acts.release(database, task, data.reason if data else None, reader)
    if row is None:
        raise NotInCrashLoop((await ledger.find(task_id, reader))["status"])
    publisher.soon(lambda: events.Changes([events.TaskChange.from_row(row)]))
    return Submitted(task_id, row["status"], "The task starts again within a second.")


@get(
    "/tasks/{task_id:uuid}/stack",
    summary="Where the body of a running task is",
    description="The frames of its thread and of its asyncio tasks, without any values. 504: the worker does "
    "not answer within two seconds.",
    responses=documented(400, 401, 403, 404, 409, 504),
)
async def show_stack(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    queues: NamedDependency[Queues],
) -> TaskStacks:
    await ledger.find(task_id, reader)
    return await stacks.ask(database, queues, task_id)


def _check_fields(change: TaskChange, reader: Reader) -> None:
    """Raises InvalidFields or EditRestricted."""
    given = {name for name in ("priority", "send_at", "params", "queue") if getattr(change, name) is not None}
    if not given:
        raise InvalidFields([FieldProblem("", "must give at least one field to change")])
    if not reader.is_staff and given - OF_USERS:
        raise EditRestricted(sorted(given - OF_USERS))


def _check_time(send_at: datetime | None, task: Mapping[str, Any], now: datetime) -> None:
    """Raises InvalidFields."""
    if send_at is None:
        return
    if send_at > now + MAX_DELAY:
        raise InvalidFields([FieldProblem("send_at", "must be at most 366 days ahead")])
    if task["expires_at"] is not None and send_at >= task["expires_at"]:
        rule = f"must be earlier than the task's expires_at, {task['expires_at'].isoformat()}"
        raise InvalidFields([FieldProblem("send_at", rule)])
