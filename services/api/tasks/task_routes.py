"""Lists, looks up, cancels and retries tasks."""

import contextlib
import time
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from services.api.audit.trail import Target
from services.api.audit.unmasking import Unmask, unmasked
from services.api.http import moments, paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.moments import Moment
from services.api.http.refusals import NotRetriable
from services.api.identity.rights import Reader
from services.api.live.live import Live
from services.api.live.viewer import Viewer
from services.api.live.waiting import MAX_WAIT_S
from services.api.tasks import attempt_view, params_filter, task_acts
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.lookup_routes import logs_at, task_at
from services.api.tasks.schemas import (
    AttemptAnswer,
    Submitted,
    TaskPage,
    TaskResult,
    TaskRetryBody,
)
from services.api.tasks.task_list import TaskFilter
from services.api.workflows.retries import Retries
from shared.contracts.patterns import whole
from shared.errors import FieldProblem, InvalidFields, ServerUnavailable, TaskFinished
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL, Status
from shared.ledger.tally import Tally
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Queues

Name = Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.]{1,100}"))]
Names = Annotated[
    list[Annotated[str, Meta(pattern=whole(r"[a-z0-9_.]{1,100}"))]] | None,
    QueryParameter(max_items=20, description="Any of these; give it several times"),
]
Id = Annotated[UUID | None, QueryParameter()]
#: Parameters of the list beside those that begin with `params.`.
KNOWN = ("limit", "cursor", *(name for name in TaskFilter.__dataclass_fields__ if name != "params"))


@get(
    "/tasks",
    summary="List tasks, newest first",
    description="Without tracebacks; the task itself and its attempts show them. `params.user_id=7` keeps "
    "tasks with this parameter; dots lead to nested ones. A search that runs out of time answers with what "
    "it has found, `complete: false` and how far back it got; `next_cursor` searches on from there.",
    responses=documented(400, 401, 403),
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
    _refuse_nul(error=error, schedule=schedule)
    wanted = TaskFilter(
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
        created_after=moments.read(created_after, "created_after"),
        created_before=moments.read(created_before, "created_before"),
        completed_after=moments.read(completed_after, "completed_after"),
        completed_before=moments.read(completed_before, "completed_before"),
        error=error,
        params=params_filter.read(request.query_params.multi_items()),
    )
    return await ledger.page(reader, wanted, limit=limit, cursor=cursor)


def _refuse_nul(**texts: str | None) -> None:
    """Postgres cannot store the character, nor search for it. Raises InvalidFields."""
    if problems := [
        FieldProblem(name, "must not contain the NUL character")
        for name, text in texts.items()
        if "\x00" in (text or "")
    ]:
        raise InvalidFields(problems)


get_task = task_at("/tasks/{task_id:uuid}", "Look up a task")
list_logs = logs_at("/tasks/{task_id:uuid}/logs", "What a task has logged")


@get(
    "/tasks/{task_id:uuid}/result",
    summary="Result of a task that has ended",
    description="With wait_s the answer comes with the end of the task. A task that has not ended by then is "
    "answered with its state and without a result.",
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
    publisher: NamedDependency[Publisher],
    tally: NamedDependency[Tally],
) -> Response[Submitted]:
    task = await ledger.find(task_id, reader)
    asked = time.monotonic()
    row = await task_acts.cancel(database, task, reader)
    if row is None:
        ended = task if task["status"] in FINAL else await ledger.find(task_id, reader)
        raise TaskFinished(task_id, ended["status"])
    publisher.soon(lambda: Changes([TaskChange.from_row(row)]))
    status, holder = row["status"], row["holder"]
    if holder is None:
        # One statement has both requested the cancellation and ended the task.
        metrics.CANCEL_SECONDS.labels("waiting").observe(time.monotonic() - asked)
        tally.add(task["queue"], task["name"], Status.REVOKED)
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
    "what it does; `handlers` is needed when handlers of the task's workflow have run. This also releases a "
    "task in a crash loop.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413, 422),
)
async def retry(
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    publisher: NamedDependency[Publisher],
    retries: NamedDependency[Retries],
    edits: NamedDependency[Edits],
    data: JSONBody[TaskRetryBody | None] = None,
) -> Submitted:
    task, wanted = await ledger.find(task_id, reader), data or TaskRetryBody()
    edit = await edits.checked(
        task,
        reader,
        params=wanted.params,
        queue=wanted.queue,
        priority=wanted.priority,
        reason=wanted.reason,
    )
    row = await task_acts.retry(database, retries, task, edit, wanted, reader)
    if row is None:
        raise NotRetriable((await ledger.find(task_id, reader))["status"])
    publisher.soon(lambda: Changes([TaskChange.from_row(row)]))
    when = f"in {wanted.delay_s:g} s" if wanted.delay_s else "within a second"
    return Submitted(task_id, row["status"], f"The task starts again {when}.")
