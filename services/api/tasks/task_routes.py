"""The routes that list tasks and show one task."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from services.api.audit.trail import Target
from services.api.audit.unmasking import Unmask, unmasked
from services.api.http import paging
from services.api.http.errors import documented
from services.api.http.moments import Moment
from services.api.identity.rights import Reader
from services.api.live.live import Live
from services.api.live.viewer import Viewer
from services.api.live.waiting import MAX_WAIT_S
from services.api.tasks import attempt_view, params_filter, place, stacks
from services.api.tasks.filter_fields import FilterFields
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.lookup_routes import logs_at, task_at
from services.api.tasks.schemas import (
    AttemptAnswer,
    TaskPage,
    TaskPlace,
    TaskResult,
)
from services.api.tasks.stack_schemas import TaskStacks
from shared.contracts.patterns import whole
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL, Status
from shared.ledger.task_filter import TaskFilter
from shared.transport.queues import Queues

Name = Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"))]
Names = Annotated[
    list[Annotated[str, Meta(pattern=whole(r"[a-z0-9_.]{1,100}"))]] | None,
    QueryParameter(max_items=20, description="Any of these; give it several times"),
]
Id = Annotated[UUID | None, QueryParameter()]
#: Query parameters that the task list accepts, in addition to filters such as `params.user_id`.
KNOWN = ("limit", "cursor", *(name for name in TaskFilter.__dataclass_fields__ if name != "params"))


@get(
    "/tasks",
    summary="List tasks, newest first",
    description="The list has no tracebacks; the task itself and its attempts show them. `params.user_id=7` "
    "selects tasks with this parameter; dots lead to nested ones. A search that runs out of time "
    "answers with what it has found, `complete: false` and how far back it got; `next_cursor` "
    "continues from there.",
    responses=documented(400, 401, 403, 504),
)
async def list_tasks(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    status: Annotated[
        list[Status] | None,
        QueryParameter(max_items=len(Status), description="Any of these; give it several times"),
    ] = None,
    task_type: Name = None,
    name: Names = None,
    queue: Names = None,
    owner: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    worker: Id = None,
    parent: Id = None,
    workflow: Id = None,
    schedule: Annotated[str | None, QueryParameter(max_length=100)] = None,
    fingerprint: Annotated[str | None, QueryParameter(pattern=whole(r"[0-9a-z:]{1,100}"))] = None,
    created_after: Moment = None,
    created_before: Moment = None,
    completed_after: Moment = None,
    completed_before: Moment = None,
    error: Annotated[str | None, QueryParameter(max_length=200, description="Part of the message")] = None,
) -> TaskPage:
    given = [name for name in request.query_params if not name.startswith(params_filter.PREFIX)]
    paging.refuse_unknown(given, KNOWN)
    fields = FilterFields(
        status=status,
        task_type=task_type,
        name=name,
        queue=queue,
        owner=owner,
        worker=worker,
        parent=parent,
        workflow=workflow,
        schedule=schedule,
        fingerprint=fingerprint,
        created_after=created_after,
        created_before=created_before,
        completed_after=completed_after,
        completed_before=completed_before,
        error=error,
    )
    wanted = fields.read(request.query_params.multi_items())
    return await ledger.page(reader, wanted, limit=limit, cursor=cursor)


get_task = task_at("/tasks/{task_id:uuid}", "Look up a task")
list_logs = logs_at("/tasks/{task_id:uuid}/logs", "Log lines of a task")


@get(
    "/tasks/{task_id:uuid}/result",
    summary="Result of a task that has ended",
    description="With wait_s, the answer is sent when the task ends. If it does not end within this "
    "time, the answer has its status and no result.",
    responses=documented(400, 401, 403, 404, 409),
)
async def get_result(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    live: NamedDependency[Live],
    viewer: NamedDependency[Viewer],
    unmask: Unmask = False,
    wait_s: Annotated[
        float | None, QueryParameter(ge=0, le=MAX_WAIT_S, description="Wait this long for the end")
    ] = None,
) -> TaskResult:
    task = await ledger.find(task_id, reader)
    if wait_s and task["status"] not in FINAL:
        await live.wait(request, viewer, task_id, wait_s)
        task = await ledger.find(task_id, reader)
    if wait_s is not None and task["status"] not in FINAL:
        return TaskResult(task_id, task["status"], None, None, None)
    sees = await unmasked(database, reader, Target("task", task_id), task["owner"], unmask=unmask)
    return ledger.result(task, sees)


@get(
    "/tasks/{task_id:uuid}/place",
    summary="Position of a waiting task in its queue",
    description="How many tasks are served before it, counted up to 10,000; when it may start, by the "
    "rate of the last five minutes; and what else keeps it waiting.",
    responses=documented(400, 401, 403, 404),
)
async def get_place(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
) -> TaskPlace:
    await ledger.find(task_id, reader)
    return await place.find(database, task_id)


@get(
    "/tasks/{task_id:uuid}/attempts",
    summary="Attempts of a task, each with its last log lines",
    responses=documented(400, 401, 403, 404),
)
async def list_attempts(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
) -> list[AttemptAnswer]:
    return await attempt_view.attempts(database, await ledger.find(task_id, reader), reader)


@get(
    "/tasks/{task_id:uuid}/stack",
    summary="Call stacks of a running task",
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
