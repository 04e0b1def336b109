"""The console's forms for one task: cancel, retry, edit and retry, run now, release, and show its
stack.
"""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, diff, notices, task_form
from services.api.console.formats import as_json
from services.api.console.pages import Pages
from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.identity.rights import Reader
from services.api.operations.queues import QueueControls
from services.api.tasks import stacks
from services.api.tasks.acts import Acts
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import TaskRetryBody
from shared.errors import InvalidFields, OftenError
from shared.ledger.database import Database
from shared.transport.queues import Queues


@post("/tasks/{task_id:uuid}/run-now")
async def run_now(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    acts: NamedDependency[Acts],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    answer = await acts.run_now(
        task_id, reader, past_pause="past_pause" in form, reason=addresses.reason(form)
    )
    return notices.back(
        request,
        _page(task_id),
        answer.message.replace("Send past_pause to run", "Run past the pause to start"),
    )


@post("/tasks/{task_id:uuid}/release")
async def release(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    acts: NamedDependency[Acts],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    answer = await acts.release(task_id, reader, reason=addresses.reason(form))
    return notices.back(request, _page(task_id), answer.message)


@get("/tasks/{task_id:uuid}/stack")
async def show_stack(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    database: NamedDependency[Database],
    queues: NamedDependency[Queues],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    task = ledger.answer(await ledger.find(task_id, reader), reader)
    found, problem = None, ""
    try:
        found = await stacks.ask(database, queues, task_id)
    except OftenError as error:
        problem = str(error)
    return pages.answer(request, "stack.html.j2", task=task, found=found, problem=problem)


@get("/tasks/{task_id:uuid}/edit")
async def show_edit(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    queue_controls: NamedDependency[QueueControls],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    task = ledger.answer(await ledger.find(task_id, reader), reader)
    given = {"params": as_json(task.params), "queue": task.queue, "priority": str(task.priority)}
    return pages.answer(
        request,
        "task_edit.html.j2",
        task=task,
        given=task_form.EMPTY | given,
        queues=await queue_controls.known(),
        rules={},
        changes=None,
    )


@post("/tasks/{task_id:uuid}/edit")
async def edit(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    queue_controls: NamedDependency[QueueControls],
    edits: NamedDependency[Edits],
    acts: NamedDependency[Acts],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    """Check an edited task and show what the edit changes. Once the user confirms this, retry the
    task with the changes.
    """
    form = addresses.fields(await request.form())
    row = await ledger.find(task_id, reader)
    task = ledger.answer(row, reader)
    rules: dict[str, str] = {}
    changes = None
    try:
        body = task_form.read(form, task)
        await edits.checked(
            row, reader, params=body.params, queue=body.queue, priority=body.priority, reason=body.reason
        )
        if "apply" in form:
            answer = await acts.retry(task_id, body, reader)
            return notices.back(request, _page(task_id), answer.message)
        changes = diff.lines(task_form.edited(task, TaskRetryBody()), task_form.edited(task, body))
    except InvalidFields as error:
        rules = task_form.by_field(error.problems)
    except NotAllowed as error:
        rules = task_form.by_field([error.problem])
    except UnknownAccount as error:
        rules = {"params": f"{error.field} names no account"}
    return pages.answer(
        request,
        "task_edit.html.j2",
        task=task,
        given=task_form.EMPTY | form,
        queues=await queue_controls.known(),
        rules=rules,
        changes=changes,
    )


def _page(task_id: UUID) -> str:
    return f"/console/tasks/{task_id}"
