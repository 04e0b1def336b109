"""The console's page of one workflow: its graph, its steps with their tasks, and the forms to
cancel and retry it.
"""

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, graph, notices, trace_link
from services.api.console.pages import Pages
from services.api.identity.rights import Reader
from services.api.words import plural
from services.api.workflows import acts
from services.api.workflows.refusals import WorkflowFinished
from services.api.workflows.retries import Retries
from services.api.workflows.schemas import RetryBody, StepAnswer, WorkflowGraph
from services.api.workflows.view import WorkflowView
from shared.ledger.database import Database
from shared.settings import Settings
from shared.workflows.refusals import HandlersRan
from shared.workflows.retry import Handlers, Mode
from shared.workflows.states import State, Status

#: Number of members of a group of tasks on one page.
MEMBERS: Final = 50
#: The retry modes that apply to the whole workflow, with their labels.
MODES: Final = (
    (Mode.FAILED, "What did not succeed"),
    (Mode.DOWNSTREAM, "What did not succeed, and all steps below it"),
    (Mode.ALL, "Every step"),
)


@get("/workflows/{workflow_id:uuid}")
async def show_workflow(
    request: Request[Any, Any, Any],
    workflow_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    pages: NamedDependency[Pages],
    settings: NamedDependency[Settings],
) -> Response[Any]:
    flow = await workflows.graph(workflow_id, reader)
    chosen = next((step for step in flow.steps if step.step == request.query_params.get("step")), None)
    members = None
    if chosen is not None:
        cursor = request.query_params.get("cursor")
        members = await workflows.members(workflow_id, chosen.step, reader, limit=MEMBERS, cursor=cursor)
    return pages.answer(
        request,
        "workflow.html.j2",
        flow=flow,
        is_final=flow.completed_at is not None,
        drawing=graph.draw(flow.steps),
        node_width=graph.WIDTH,
        node_height=graph.HEIGHT,
        chosen_step=chosen,
        members=members,
        trace=trace_link.of(await workflows.trace_context(workflow_id), settings),
        done=_done(flow),
        handled=any(step.handler and step.state not in _NOT_BEGUN for step in flow.steps),
        modes=MODES if flow.status != Status.SUCCESS else MODES[-1:],
        may_begin_here=chosen is not None and chosen.state not in _NOT_BEGUN,
    )


@post("/workflows/{workflow_id:uuid}/cancel")
async def cancel(
    request: Request[Any, Any, Any],
    workflow_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    database: NamedDependency[Database],
) -> Response[Any]:
    flow = await workflows.find(workflow_id, reader)
    if not await acts.cancel(database, flow, reader):
        raise WorkflowFinished((await workflows.find(workflow_id, reader)).status)
    return notices.back(request, _page(workflow_id), "Cancellation requested; it begins within a second.")


@post("/workflows/{workflow_id:uuid}/retry")
async def retry(
    request: Request[Any, Any, Any],
    workflow_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workflows: NamedDependency[WorkflowView],
    retries: NamedDependency[Retries],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    flow = await workflows.find(workflow_id, reader)
    mode = next((each for each in Mode if each == form.get("mode")), Mode.FAILED)
    body = RetryBody(
        mode=mode,
        step=form.get("step") or None if mode is Mode.FROM else None,
        handlers=next((each for each in Handlers if each == form.get("handlers")), None),
        reason=addresses.reason(form),
    )
    path = _page(workflow_id)
    try:
        choice = await retries.retry(flow, body, reader)
    except HandlersRan:
        text = "Handlers of this workflow have run: choose whether they are judged again or kept."
        return notices.back(request, path, text, tone="bad")
    again = plural(choice.tasks, "task")
    text = f"Started again: {again}. Each starts as soon as the steps that it needs have ended."
    return notices.back(request, path, text)


_NOT_BEGUN: Final = (State.WAITING, State.SKIPPED)


def _done(flow: WorkflowGraph) -> int:
    """Percentage of the workflow's steps that have ended. For a group, its ended members are
    counted.
    """
    parts = [_share(step) for step in flow.steps]
    return int(100 * sum(parts) / len(parts)) if parts else 0


def _share(step: StepAnswer) -> float:
    if step.state not in (State.WAITING, State.RUNNING):
        return 1.0
    ended = step.succeeded + step.failed + step.revoked
    return min(1.0, ended / step.members) if step.members else 0.0


def _page(workflow_id: UUID) -> str:
    return f"/console/workflows/{workflow_id}"
