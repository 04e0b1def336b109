"""Separate routes for the hotel application's tasks: mail, search, push, payment and others."""

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
from services.api.workflows.view import WorkflowView
from shared.contracts.contract import Contract
from shared.errors import FieldProblem, InvalidFields
from shared.hotel.contracts import email, hotels, notifications, payments
from shared.hotel.contracts.payments import ProcessPayment
from shared.hotel.workflows.payment import CHARGE, payment
from shared.new_task import CheckedTask
from shared.workflows import wiring

REFUSALS = documented(400, 401, 403, 409, 413, 422)


class Mail(NamedTuple):
    """Maps a mail that the hotel application's predecessor could send to the task that sends it
    now.
    """

    contract: Contract[Any, Any]
    #: The task parameter that receives the request's field `data`; None if the mail takes no data.
    data: str | None


MAILS = {
    "welcome": Mail(email.SEND_WELCOME, None),
    "price_alert": Mail(email.SEND_PRICE_ALERT, "alert"),
}


class Wanted(NamedTuple):
    """The task that a request asks for, with the parameters taken from the request."""

    contract: Contract[Any, Any]
    params: dict[str, Any]
    #: Maps the task's parameters to the request's fields that contain them, where the names differ.
    sent_as: Mapping[str, str] = {}
    #: The field of the request that selected the kind of task; errors about the kind name this
    #: field.
    chosen_by: str = "name"


@post(
    "/tasks/email",
    summary="Send a mail",
    operation_class=example({"user_id": 1, "email_type": "welcome"}),
    description="Mails are sent to confirmed addresses only. price_alert is for staff; its `data` has "
    "hotel_name, currency, old_price, new_price, and the other parameters of the task "
    "email.send_price_alert.",
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
    description="The task's progress counts the pages of each provider. Its result has the hotels with "
    "prices.",
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
    description="The same Idempotency-Key never charges twice. The task in the answer is the charge, which "
    "is the first step of a workflow. The receipt follows; if either of them fails, the payment is "
    "refunded. A charge that the customer has to confirm ends as requires_action, with a client_secret in "
    "its result.",
    status_code=202,
    responses=REFUSALS,
)
async def submit_payment(
    data: JSONBody[PaymentBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    workflow_submissions: NamedDependency[WorkflowSubmissions],
    workflows: NamedDependency[WorkflowView],
    idempotency_key: RequiredKey,
) -> Response[Submitted]:
    order = _checked(Wanted(payments.PROCESS, msgspec.to_builtins(data)), reader, submissions).new.params
    once = submissions.once(idempotency_key, reader, "tasks/payment", data)
    graph = wiring.compile(payment(cast(ProcessPayment, order), owner=reader.id))
    workflow_id, is_new = await workflow_submissions.submit_graph(graph, reader, once, sent_as="user_id")
    charge = await workflows.task_of(workflow_id, CHARGE)
    # An Idempotency-Key that was first used under release 0.2 belongs to a task without a workflow,
    # so no task is found. This case can be removed a day after the upgrade.
    return submitted(charge or workflow_id, payments.PROCESS.name, is_new)


@post(
    "/tasks/sync-hotels",
    summary="Synchronize all active hotels with the providers",
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
    """Submit the task as `POST /tasks` would. Errors use the field names of the request."""
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
    """Rename the fields in error messages from the task's parameters to the fields of the request."""
    renamed = []
    for problem in problems:
        path = problem.field.removeprefix("params").lstrip(".")
        head, dot, rest = path.partition(".")
        renamed.append(FieldProblem(f"{sent_as.get(head, head)}{dot}{rest}", problem.rule))
    return renamed
