"""Submit tasks: any kind, mails under the names of the old application, many at once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody

from services.api.errors import documented
from services.api.rights import Reader
from services.api.schemas.tasks import BatchBody, BatchSubmitted, MailBody, NewTaskBody, Submitted
from services.api.submissions import Submissions
from shared.contracts import email
from shared.contracts.contract import Contract
from shared.errors import FieldProblem, InvalidFields

#: Room for 10,000 tasks with parameters of a kilobyte and a half.
BATCH_BYTES = 16 * 2**20

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="For 24 hours the same key and body lead to the first submission",
    ),
]


class Mail(NamedTuple):
    """A mail of the old application."""

    contract: Contract[Any, Any]
    #: The parameter that takes `data`; None: the mail takes no data.
    data: str | None


MAILS = {
    "welcome": Mail(email.SEND_WELCOME, None),
    "price_alert": Mail(email.SEND_PRICE_ALERT, "alert"),
}


@post("/tasks", summary="Submit a task", status_code=202, responses=documented(400, 401, 403, 409, 413, 422))
async def submit(
    data: JSONBody[NewTaskBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    task = submissions.new_task(data, reader, datetime.now(UTC))
    once = submissions.once(idempotency_key, reader, "tasks", data)
    task_id, is_new = await submissions.submit_one(task, reader, once)
    return _submitted(task_id, data.name, is_new)


@post(
    "/tasks/email",
    summary="Send a mail",
    description="`data` of a price_alert: hotel_name, currency, old_price, new_price, and what else "
    "the task email.send_price_alert takes.",
    status_code=202,
    responses=documented(400, 401, 403, 409, 413, 422),
)
async def submit_mail(
    data: JSONBody[MailBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    body = _mail_task(data)
    try:
        task = submissions.new_task(body, reader, datetime.now(UTC))
    except InvalidFields as error:
        raise InvalidFields(_as_sent(error.problems)) from None
    once = submissions.once(idempotency_key, reader, "tasks/email", data)
    task_id, is_new = await submissions.submit_one(task, reader, once, user_id="user_id")
    return _submitted(task_id, body.name, is_new)


@post(
    "/tasks/batch",
    summary="Submit many tasks, all or none",
    status_code=202,
    request_max_body_size=BATCH_BYTES,
    responses=documented(400, 401, 403, 409, 413),
)
async def submit_batch(
    data: JSONBody[BatchBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[BatchSubmitted]:
    once = submissions.once(idempotency_key, reader, "tasks/batch", data)
    ids, is_new = await submissions.submit_batch(data.tasks, reader, once)
    message = f"{len(ids)} tasks are accepted; GET /api/v1/tasks lists how they go."
    return Response(BatchSubmitted(ids, "queued", message), status_code=202, headers=_replayed(is_new))


def _mail_task(mail: MailBody) -> NewTaskBody:
    kind = MAILS.get(mail.email_type)
    if kind is None:
        raise InvalidFields([FieldProblem("email_type", f"must be one of {', '.join(MAILS)}")])
    if kind.data is None and mail.data:
        rule = f"is not a known field of {mail.email_type}"
        raise InvalidFields([FieldProblem(f"data.{key}", rule) for key in mail.data])
    params = {"user_id": mail.user_id} | ({kind.data: mail.data} if kind.data else {})
    return NewTaskBody(name=kind.contract.name, params=params)


def _as_sent(problems: Sequence[FieldProblem]) -> list[FieldProblem]:
    """Name fields as the request has them, not as the task's parameters do."""
    paths = {"params.user_id": "user_id"} | {f"params.{m.data}": "data" for m in MAILS.values() if m.data}
    renamed = []
    for problem in problems:
        path = next((p for p in paths if problem.field == p or problem.field.startswith(f"{p}.")), "")
        field = paths[path] + problem.field.removeprefix(path) if path else problem.field
        renamed.append(FieldProblem(field, problem.rule))
    return renamed


def _submitted(task_id: UUID, name: str, is_new: bool) -> Response[Submitted]:
    message = f"{name} is accepted; GET /api/v1/tasks/{task_id} shows how it goes."
    return Response(Submitted(task_id, "queued", message), status_code=202, headers=_replayed(is_new))


def _replayed(is_new: bool) -> dict[str, str]:
    return {} if is_new else {"Idempotent-Replayed": "true"}
