"""The routes that cancel, retry, change, run or release one task."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Response, delete, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.schemas import ReasonBody
from services.api.identity.rights import Reader
from services.api.tasks import task_acts
from services.api.tasks.acts import Acts
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.refusals import EditRestricted, TaskNotWaiting
from services.api.tasks.schemas import RunNowBody, Submitted, TaskChange, TaskChanged, TaskRetryBody
from services.api.tasks.submissions import EPOCH
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.transport import events

#: Fields of a waiting task that ordinary users may change in their own tasks. All other fields may
#: be changed by staff only.
OF_USERS = frozenset({"priority"})


@delete(
    "/tasks/{task_id:uuid}",
    summary="Cancel a task",
    description="200: the task will not run. 202: a worker has it and was notified; look the task up to see "
    "how it ends.",
    status_code=200,
    responses=documented(400, 401, 403, 404, 409),
)
async def cancel(
    task_id: FromPath[UUID], reader: NamedDependency[Reader], acts: NamedDependency[Acts]
) -> Response[Submitted]:
    answer, has_ended = await acts.cancel(task_id, reader)
    return Response(answer, status_code=200 if has_ended else 202)


@post(
    "/tasks/{task_id:uuid}/retry",
    summary="Run a failed or canceled task again",
    operation_class=example({"priority": 9, "reason": "the provider is back"}, optional=True),
    description="The count of failures starts at zero again; earlier attempts stay visible. The "
    "body may change the task. It must have `handlers` if handlers of the task's "
    "workflow have run. This also releases a task from a crash loop.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413, 422),
)
async def retry(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    acts: NamedDependency[Acts],
    data: JSONBody[TaskRetryBody | None] = None,
) -> Submitted:
    return await acts.retry(task_id, data or TaskRetryBody(), reader)


@patch(
    "/tasks/{task_id:uuid}",
    summary="Change a waiting task",
    operation_class=example({"priority": 9, "reason": "a customer waits for it"}),
    description="Users may change the priority of their own tasks, up to the maximum of their role. The "
    "contract checks new parameters. A task that a worker holds cannot be changed.",
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
    description="With `past_pause`, a task of a paused queue starts too. If no worker takes it "
    "within an hour, or Redis is wiped before, it waits for the end of the pause. So do "
    "its retries.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def run_now(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    acts: NamedDependency[Acts],
    data: JSONBody[RunNowBody | None] = None,
) -> Submitted:
    wanted = data or RunNowBody()
    return await acts.run_now(task_id, reader, past_pause=wanted.past_pause, reason=wanted.reason)


@post(
    "/tasks/{task_id:uuid}/release",
    summary="Release a task from a crash loop",
    operation_class=example({"reason": "its input is repaired"}, optional=True),
    description="For a task that was given up because it killed its workers. It starts again, with "
    "all counts at zero.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def release(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    acts: NamedDependency[Acts],
    data: JSONBody[ReasonBody | None] = None,
) -> Submitted:
    return await acts.release(task_id, reader, reason=data.reason if data else None)


def _check_fields(change: TaskChange, reader: Reader) -> None:
    """Check that the request changes at least one field, and only fields that the caller's role may
    change.

    Raises InvalidFields or EditRestricted.
    """
    given = {name for name in ("priority", "send_at", "params", "queue") if getattr(change, name) is not None}
    if not given:
        raise InvalidFields([FieldProblem("", "must give at least one field to change")])
    if not reader.is_staff and given - OF_USERS:
        raise EditRestricted(sorted(given - OF_USERS))


def _check_time(send_at: datetime | None, task: Mapping[str, Any], now: datetime) -> None:
    """Check the requested new start time of the task. Raises InvalidFields."""
    if send_at is None:
        return
    if send_at > now + MAX_DELAY:
        raise InvalidFields([FieldProblem("send_at", "must be at most 366 days ahead")])
    if task["expires_at"] is not None and send_at >= task["expires_at"]:
        rule = f"must be earlier than the task's expires_at, {task['expires_at'].isoformat()}"
        raise InvalidFields([FieldProblem("send_at", rule)])
