"""The hotel application's tasks under addresses of their own: mail, search, push, payment and the like."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api.hotel.task_schemas import MailBody, NotificationBody, PaymentBody, SearchBody
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.refusals import TaskRestricted
from services.api.http.schemas import Body
from services.api.identity.rights import Reader
from services.api.tasks.schemas import NewTaskBody, Submitted
from services.api.tasks.submission_routes import IdempotencyKey, RequiredKey, submitted
from services.api.tasks.submissions import Submissions
from services.api.workflows.submissions import WorkflowSubmissions
from shared.contracts.contract import Contract
from shared.errors import FieldProblem, InvalidFields
from shared.hotel.contracts import email, hotels, notifications, payments
from shared.hotel.contracts.payments import ProcessPayment
from shared.hotel.workflows.payment import CHARGE, payment
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.submission import CheckedTask
from shared.workflows import wiring

TASK_OF_STEP = Statement("SELECT task FROM workflow_step WHERE workflow = :workflow AND name = :step")
REFUSALS = documented(400, 401, 403, 409, 413, 422)


class Mail(NamedTuple):
    """A mail of the old application."""

    contract: Contract[Any, Any]
    #: The parameter that takes `data`; None: the mail takes no data.
    data: str | None


MAILS = {
    "welcome": Mail(email.SEND_WELCOME, None),
    "price_alert": Mail(email.SEND_PRICE_ALERT, "alert"),
}


class Wanted(NamedTuple):
    """What a request asks for as a task."""

    contract: Contract[Any, Any]
    params: dict[str, Any]
    #: Parameters that the request calls otherwise.
    sent_as: Mapping[str, str] = {}
    #: The field that chose the task.
    chosen_by: str = "name"


@post(
    "/tasks/email",
    summary="Send a mail",
    operation_class=example({"user_id": 1, "email_type": "welcome"}),
    description="A mail goes to confirmed addresses only. price_alert is for staff; its `data`: hotel_name, "
    "currency, old_price, new_price, and what else the task email.send_price_alert takes.",
    status_code=202,
    responses=REFUSALS,
)
async def submit_mail(
    data: JSONBody[MailBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    return await _submit(_mail(data), "tasks/email", data, reader, submissions, idempotency_key)


@post(
    "/tasks/hotel-search",
    summary="Search hotels",
    operation_class=example({"destination": "Goa", "check_in": "2099-01-01", "check_out": "2099-01-03"}),
    description="The task's progress tells each page of each provider, its result the hotels with prices.",
    status_code=202,
    responses=REFUSALS,
)
async def submit_search(
    data: JSONBody[SearchBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    params = msgspec.to_builtins(data)
    params |= {"user_id": reader.id, "adults": params.pop("guests")}
    wanted = Wanted(hotels.SEARCH, params, {"adults": "guests"})
    return await _submit(wanted, "tasks/hotel-search", data, reader, submissions, idempotency_key)


@post(
    "/tasks/notification",
    summary="Push to a user's browsers",
    operation_class=example({"user_id": 1, "title": "Hello", "message": "Your booking is confirmed."}),
    status_code=202,
    responses=REFUSALS,
)
async def submit_notification(
    data: JSONBody[NotificationBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    if data.notification_type != "push":
        raise InvalidFields([FieldProblem("notification_type", "must be push; mails go to tasks/email")])
    params = msgspec.to_builtins(data)
    del params["notification_type"]
    wanted = Wanted(notifications.SEND_PUSH, params)
    return await _submit(wanted, "tasks/notification", data, reader, submissions, idempotency_key)


@post(
    "/tasks/payment",
    summary="Charge a payment method",
    operation_class=example(
        {"user_id": 1, "amount": "12.50", "currency": "USD", "payment_method": "pm_card_visa"}
    ),
    description="The same Idempotency-Key never charges twice. Its task is the charge, "
    "the first step of a workflow: a receipt follows, and a refund when that fails. A charge that the "
    "customer has to confirm ends as requires_action, with a client_secret in its result.",
    status_code=202,
    responses=REFUSALS,
)
async def submit_payment(
    data: JSONBody[PaymentBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    workflow_submissions: NamedDependency[WorkflowSubmissions],
    database: NamedDependency[Database],
    idempotency_key: RequiredKey,
) -> Response[Submitted]:
    order = _checked(Wanted(payments.PROCESS, msgspec.to_builtins(data)), reader, submissions).new.params
    once = submissions.once(idempotency_key, reader, "tasks/payment", data)
    graph = wiring.compile(payment(cast(ProcessPayment, order), owner=reader.id))
    workflow_id, is_new = await workflow_submissions.submit_graph(graph, reader, once, sent_as="user_id")
    charge = await database.run(TASK_OF_STEP, workflow=workflow_id, step=CHARGE)
    # A key of release 0.2 leads to a task without a workflow. A day after the upgrade this can go.
    task_id = charge[0]["task"] if charge else workflow_id
    return submitted(task_id, payments.PROCESS.name, is_new)


@post(
    "/tasks/sync-hotels",
    summary="Ask the providers about all active hotels",
    status_code=202,
    responses=documented(400, 401, 403, 409),
)
async def submit_sync(
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    wanted = Wanted(hotels.SYNC, {})
    return await _submit(wanted, "tasks/sync-hotels", None, reader, submissions, idempotency_key)


async def _submit(
    wanted: Wanted,
    route: str,
    sent: Body | None,
    reader: Reader,
    submissions: Submissions,
    key: str | None,
) -> Response[Submitted]:
    """Submit it as `POST tasks` would; broken rules name the fields as they were sent."""
    task = _checked(wanted, reader, submissions)
    once = submissions.once(key, reader, route, sent)
    task_id, is_new = await submissions.submit_one(task, reader, once, sent_as="user_id")
    return submitted(task_id, wanted.contract.name, is_new)


def _checked(wanted: Wanted, reader: Reader, submissions: Submissions) -> CheckedTask:
    body = NewTaskBody(name=wanted.contract.name, params=wanted.params)
    try:
        return submissions.new_task(body, reader)
    except InvalidFields as error:
        raise InvalidFields(_as_sent(error.problems, wanted.sent_as)) from None
    except TaskRestricted:
        raise TaskRestricted(body.name, field=wanted.chosen_by) from None


def _mail(mail: MailBody) -> Wanted:
    kind = MAILS.get(mail.email_type)
    if kind is None:
        raise InvalidFields([FieldProblem("email_type", f"must be one of {', '.join(MAILS)}")])
    if kind.data is None and mail.data:
        rule = f"is not a known field of {mail.email_type}"
        raise InvalidFields([FieldProblem(f"data.{key}", rule) for key in mail.data])
    params = {"user_id": mail.user_id} | ({kind.data: mail.data} if kind.data else {})
    return Wanted(kind.contract, params, {kind.data: "data"} if kind.data else {}, "email_type")


def _as_sent(problems: Sequence[FieldProblem], sent_as: Mapping[str, str]) -> list[FieldProblem]:
    """Name fields as the request has them, not as the task's parameters do."""
    renamed = []
    for problem in problems:
        path = problem.field.removeprefix("params").lstrip(".")
        head, dot, rest = path.partition(".")
        renamed.append(FieldProblem(f"{sent_as.get(head, head)}{dot}{rest}", problem.rule))
    return renamed
