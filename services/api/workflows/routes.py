"""The routes that submit, list, show, cancel and retry workflows."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.http import paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.tasks.schemas import TaskPage
from services.api.tasks.submission_routes import HEALTH_CHECK, IdempotencyKey
from services.api.tasks.submissions import Submissions
from services.api.words import plural
from services.api.workflows import acts
from services.api.workflows.refusals import WorkflowFinished
from services.api.workflows.retries import Retries
from services.api.workflows.schemas import (
    RetryBody,
    WorkflowBody,
    WorkflowGraph,
    WorkflowPage,
    WorkflowSubmitted,
)
from services.api.workflows.submissions import WorkflowSubmissions
from services.api.workflows.view import WorkflowView
from shared.contracts.patterns import whole
from shared.ledger.database import Database
from shared.ledger.workflow_filter import WorkflowFilter
from shared.workflows.states import Status

#: Maximum size of a request body that submits a workflow, in bytes. It is larger than for other
#: routes, because a group may have 10,000 members.
BODY_BYTES = 8 * 2**20

_STEP = {"task": HEALTH_CHECK["name"], "params": {}}
Limit = Annotated[int, QueryParameter(ge=1, le=100)]
Cursor = Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")]


@post(
    "/workflows",
    summary="Submit a workflow",
    description="Steps run when those that they need have ended. docs/workflows.md has the rules.",
    operation_class=example(
        {
            "name": "checks",
            "steps": [{"step": "first", **_STEP}, {"step": "second", **_STEP, "needs": ["first"]}],
        }
    ),
    status_code=202,
    request_max_body_size=BODY_BYTES,
    responses=documented(400, 401, 403, 409, 413, 422),
)
async def submit(
    data: JSONBody[WorkflowBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    workflow_submissions: NamedDependency[WorkflowSubmissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[WorkflowSubmitted]:
    once = submissions.once(idempotency_key, reader, "workflows", data)
    workflow_id, is_new = await workflow_submissions.submit(data, reader, once)
    message = f"{data.name} is accepted; GET /api/v1/workflows/{workflow_id} shows its progress."
    headers = {} if is_new else {"Idempotent-Replayed": "true"}
    return Response(WorkflowSubmitted(workflow_id, "running", message), status_code=202, headers=headers)


@get("/workflows", summary="List workflows, newest first", responses=documented(400, 401, 403, 504))
async def list_workflows(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[Status | None, QueryParameter()] = None,
    name: Annotated[str | None, QueryParameter(pattern=whole(r"[a-z0-9_.-]{1,100}"))] = None,
) -> WorkflowPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", "status", "name"))
    wanted = WorkflowFilter(status=[status] if status else None, name=[name] if name else None)
    return await workflows.page(reader, wanted, limit=limit, cursor=cursor)


@get(
    "/workflows/{workflow_id:uuid}",
    summary="Look up a workflow with its steps",
    responses=documented(400, 401, 403, 404),
)
async def get_workflow(
    workflow_id: FromPath[UUID], reader: NamedDependency[Reader], workflows: NamedDependency[WorkflowView]
) -> WorkflowGraph:
    return await workflows.graph(workflow_id, reader)


@get(
    "/workflows/{workflow_id:uuid}/steps/{step:str}/tasks",
    summary="Tasks of a step, in the order of its members",
    responses=documented(400, 401, 403, 404, 504),
)
async def list_members(
    workflow_id: FromPath[UUID],
    step: FromPath[str],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TaskPage:
    return await workflows.members(workflow_id, step, reader, limit=limit, cursor=cursor)


@delete(
    "/workflows/{workflow_id:uuid}",
    summary="Cancel a workflow",
    description="Waiting steps are skipped and running tasks canceled; steps that always run still run. "
    "A second request cancels these as well.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409),
)
async def cancel(
    workflow_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    database: NamedDependency[Database],
) -> WorkflowSubmitted:
    found = await workflows.find(workflow_id, reader)
    if not await acts.cancel(database, found, reader):
        raise WorkflowFinished((await workflows.find(workflow_id, reader)).status)
    return WorkflowSubmitted(workflow_id, found.status, "Cancellation requested; it begins within a second.")


@post(
    "/workflows/{workflow_id:uuid}/retry",
    summary="Run a part of a workflow again",
    description="Without a body: what failed or was canceled. Members of a group that succeeded are not "
    "repeated unless the mode asks for it. docs/workflows.md has the rules.",
    operation_class=example(
        {"mode": "failed", "handlers": "keep", "reason": "the provider is back"}, optional=True
    ),
    status_code=202,
    responses=documented(400, 401, 403, 404, 409),
)
async def retry(
    workflow_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    retries: NamedDependency[Retries],
    data: JSONBody[RetryBody | None] = None,
) -> WorkflowSubmitted:
    found = await workflows.find(workflow_id, reader)
    choice = await retries.retry(found, data or RetryBody(), reader)
    message = (
        f"{plural(choice.tasks, 'task runs', 'tasks run')} again, each as soon as the steps that it "
        "needs have ended."
    )
    return WorkflowSubmitted(workflow_id, "running", message)


ROUTER = Router(
    "",
    route_handlers=[submit, list_workflows, get_workflow, list_members, cancel, retry],
    tags=["workflows"],
)
