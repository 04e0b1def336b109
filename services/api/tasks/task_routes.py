"""Lists, looks up, cancels and retries tasks."""

import contextlib
import time
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.audit.trail import Target
from services.api.audit.unmasking import Unmask, unmasked
from services.api.http import moments, paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.moments import Moment
from services.api.http.refusals import NotRetriable
from services.api.identity.rights import Reader
from services.api.tasks import attempt_view, task_acts
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.lookup_routes import logs_at, task_at
from services.api.tasks.schemas import (
    AttemptAnswer,
    RetryBody,
    Submitted,
    TaskPage,
    TaskResult,
    TaskSummary,
)
from services.api.tasks.task_list import TaskFilter
from services.api.workflows.acts import Handlers, refuse_handlers
from shared.contracts.patterns import whole
from shared.errors import FieldProblem, InvalidFields, ServerUnavailable, TaskFinished
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL, Status
from shared.telemetry import metrics
from shared.transport.queues import Queues

Name = Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"))]


@get(
    "/tasks",
    summary="List tasks, newest first",
    description="Without tracebacks; the task itself and its attempts show them.",
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
    name: Name = None,
    queue: Name = None,
    owner: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    created_after: Moment = None,
    created_before: Moment = None,
    completed_after: Moment = None,
    completed_before: Moment = None,
    error: Annotated[str | None, QueryParameter(max_length=200, description="Part of the message")] = None,
) -> TaskPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", *TaskFilter.__dataclass_fields__))
    if "\x00" in (error or ""):
        raise InvalidFields([FieldProblem("error", "must not contain the NUL character")])
    wanted = TaskFilter(
        status=status,
        task_type=task_type,
        name=name,
        queue=queue,
        owner=owner,
        created_after=moments.read(created_after, "created_after"),
        created_before=moments.read(created_before, "created_before"),
        completed_after=moments.read(completed_after, "completed_after"),
        completed_before=moments.read(completed_before, "completed_before"),
        error=error,
    )
    return await ledger.page(reader, wanted, limit=limit, cursor=cursor)


@get("/tasks/stats/summary", summary="Count tasks", responses=documented(401, 403, 504))
async def summarise(reader: NamedDependency[Reader], ledger: NamedDependency[LedgerView]) -> TaskSummary:
    return await ledger.summary(reader)


get_task = task_at("/tasks/{task_id:uuid}", "Look up a task")
list_logs = logs_at("/tasks/{task_id:uuid}/logs", "What a task has logged")


@get(
    "/tasks/{task_id:uuid}/result",
    summary="Result of a task that has ended",
    responses=documented(400, 401, 403, 404, 409),
)
async def get_result(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    unmask: Unmask = False,
) -> TaskResult:
    task = await ledger.find(task_id, reader)
    sees = await unmasked(database, reader, Target("task", task_id), task["owner"], unmask=unmask)
    return ledger.result(task, sees)


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


@delete(
    "/tasks/{task_id:uuid}",
    summary="Cancel a task",
    description="200: the task will not run. 202: a worker has it and was notified; look the task up to see "
    "how it ends.",
    status_code=200,
    responses=documented(400, 401, 403, 404, 409),
)
async def cancel(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    queues: NamedDependency[Queues],
) -> Response[Submitted]:
    task = await ledger.find(task_id, reader)
    asked = time.monotonic()
    row = await task_acts.cancel(database, task, reader)
    if row is None:
        ended = task if task["status"] in FINAL else await ledger.find(task_id, reader)
        raise TaskFinished(task_id, ended["status"])
    status, holder = row["status"], row["holder"]
    if holder is None:
        # One statement has both requested the cancellation and ended the task.
        metrics.CANCEL_SECONDS.labels("waiting").observe(time.monotonic() - asked)
        return Response(Submitted(task_id, status, "The task is canceled and will not run."), status_code=200)
    with contextlib.suppress(ServerUnavailable):  # the worker also learns of it by its heartbeat
        await queues.announce_cancel(task_id)
    message = "Cancellation requested. The worker that has the task was notified."
    return Response(Submitted(task_id, status, message), status_code=202)


@post(
    "/tasks/{task_id:uuid}/retry",
    summary="Run a failed or canceled task again",
    operation_class=example({"priority": 9, "reason": "the provider is back"}, optional=True),
    description="Its failures are counted from zero again, and its attempts are kept. The body may change "
    "what it does. This also releases a task in a crash loop.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413, 422),
)
async def retry(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    edits: NamedDependency[Edits],
    data: JSONBody[RetryBody | None] = None,
    handlers: Annotated[
        Handlers | None,
        QueryParameter(description="keep: retry although handlers of the task's workflow have run"),
    ] = None,
) -> Submitted:
    task = await ledger.find(task_id, reader)
    if task["workflow"] is not None:
        await refuse_handlers(database, task["workflow"], handlers, step=task["step"])
    wanted = data or RetryBody()
    edit = await edits.checked(
        task,
        reader,
        params=wanted.params,
        queue=wanted.queue,
        priority=wanted.priority,
        reason=wanted.reason,
    )
    status = await task_acts.retry(database, task, edit, wanted.delay_s, reader)
    if status is None:
        raise NotRetriable((await ledger.find(task_id, reader))["status"])
    when = f"in {wanted.delay_s:g} s" if wanted.delay_s else "within a second"
    return Submitted(task_id, status, f"The task starts again {when}.")
