"""Submit, list, look up and cancel tasks."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from services.api import accounts, ledger_view
from services.api.errors import NotAllowed, UnknownAccount, documented
from services.api.rights import Reach, Reader
from services.api.schemas.accounts import Account
from services.api.schemas.tasks import (
    AttemptAnswer,
    MailBody,
    NewTaskBody,
    Submitted,
    TaskAnswer,
    TaskPage,
)
from shared.contracts import email
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Params
from shared.errors import FieldProblem, InvalidFields, ServerAway, TaskFinished
from shared.ledger import engine, statements
from shared.ledger.lifecycle import FINAL, Status
from shared.submission import NewTask, Submitter
from shared.transport.queues import Queues

#: The old application's names of mails.
MAILS = {"welcome": email.SEND_WELCOME}


@post("/tasks", summary="Submit a task", status_code=202, responses=documented(400, 401, 403, 413, 422))
async def submit(
    data: JSONBody[NewTaskBody],
    user: NamedDependency[Account],
    reach: NamedDependency[Reach],
    catalogue: NamedDependency[Catalogue],
    submitter: NamedDependency[Submitter],
) -> Submitted:
    contract = catalogue.get(data.name)
    params = contract.check_params(data.params)
    await _check_recipient(params, user, reach, "params.user_id")
    now = datetime.now(UTC)
    task = NewTask(
        contract=contract,
        params=params,
        owner=user.id,
        priority=data.priority,
        delay=None if data.delay_s is None else timedelta(seconds=data.delay_s),
        # A moment that has passed means at once, however long ago.
        run_at=None if data.run_at is None else max(data.run_at, now),
        expires_at=data.expires_at,
    )
    return await _submit(submitter, task)


@post("/tasks/email", summary="Send a mail", status_code=202, responses=documented(400, 401, 403, 413, 422))
async def submit_mail(
    data: JSONBody[MailBody],
    user: NamedDependency[Account],
    reach: NamedDependency[Reach],
    submitter: NamedDependency[Submitter],
) -> Submitted:
    contract = MAILS.get(data.email_type)
    if contract is None:
        raise InvalidFields([FieldProblem("email_type", f"must be one of {', '.join(MAILS)}")])
    if data.data:
        raise InvalidFields(
            [FieldProblem(f"data.{key}", f"is not a known field of {data.email_type}") for key in data.data]
        )
    params = contract.check_params({"user_id": data.user_id})
    await _check_recipient(params, user, reach, "user_id")
    return await _submit(submitter, NewTask(contract=contract, params=params, owner=user.id))


@get("/tasks", summary="List tasks, newest first", responses=documented(400, 401, 403))
async def list_tasks(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    status: FromQuery[Status | None] = None,
    name: Annotated[str | None, QueryParameter(pattern=r"^[a-z0-9_.]{1,100}$")] = None,
) -> TaskPage:
    known = ("limit", "cursor", "status", "name")
    unknown = [
        FieldProblem(key, f"must be one of {', '.join(known)}")
        for key in request.query_params
        if key not in known
    ]
    if unknown:
        raise InvalidFields(unknown)
    return await ledger_view.page(reader, limit=limit, cursor=cursor, status=status, name=name)


@get("/tasks/{task_id:uuid}", summary="Look up a task", responses=documented(400, 401, 403, 404))
async def get_task(task_id: FromPath[UUID], reader: NamedDependency[Reader]) -> TaskAnswer:
    return ledger_view.answer(await ledger_view.find(task_id, reader), reader)


@get(
    "/tasks/{task_id:uuid}/attempts",
    summary="Attempts of a task, with their logs",
    responses=documented(400, 401, 403, 404),
)
async def list_attempts(task_id: FromPath[UUID], reader: NamedDependency[Reader]) -> list[AttemptAnswer]:
    return await ledger_view.attempts(await ledger_view.find(task_id, reader), reader)


@delete(
    "/tasks/{task_id:uuid}",
    summary="Cancel a task",
    description="200: it will not run. 202: a worker has it and was told; look it up to see how it ended.",
    status_code=200,
    responses=documented(400, 401, 403, 404, 409),
)
async def cancel(
    task_id: FromPath[UUID], reader: NamedDependency[Reader], queues: NamedDependency[Queues]
) -> Response[Submitted]:
    task = await ledger_view.find(task_id, reader)
    rows = await engine.run(statements.CANCEL, task_id)
    if not rows:
        ended = task if task["status"] in FINAL else await ledger_view.find(task_id, reader)
        raise TaskFinished(task_id, ended["status"])
    if rows[0]["holder"] is None:
        return Response(
            Submitted(task_id, rows[0]["status"], "The task is cancelled and will not run."), status_code=200
        )
    with contextlib.suppress(ServerAway):  # the worker's heartbeat tells it as well
        await queues.announce_cancel(task_id)
    message = "Cancellation requested; the worker that has the task was told."
    return Response(Submitted(task_id, rows[0]["status"], message), status_code=202)


async def _check_recipient(params: Params, user: Account, reach: Reach, field: str) -> None:
    """A task for a user: everybody may reach himself, who reaches all anybody who exists."""
    user_id = getattr(params, "user_id", None)
    if user_id is None or user_id == user.id:
        return
    if reach is not Reach.ALL:
        raise NotAllowed(field, "must be your own id")
    if not await accounts.exists(user_id):
        raise UnknownAccount(field)


async def _submit(submitter: Submitter, task: NewTask) -> Submitted:
    (task_id,) = await submitter.submit([task])
    return Submitted(
        task_id, "queued", f"{task.contract.name} is accepted; GET /api/v1/tasks/{task_id} shows how it goes."
    )
