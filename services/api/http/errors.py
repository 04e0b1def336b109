"""Turns every error into a problem document (RFC 9457), whose `detail` says what to do next.

No internal details leave the process.
"""

import logging
from functools import singledispatch
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from services.api.http import parameters, request_ids
from services.api.http.problem import FieldRule, Problem
from services.api.http.refusals import QuotaUsedUp, Refusal, RequestTooSlow
from shared.errors import (
    FieldProblem,
    InvalidFields,
    KeyReused,
    OftenError,
    ServerAway,
    ServerUnavailable,
    TaskFinished,
    TaskNotFound,
    UnknownTask,
    VaultError,
    WorkersTooOld,
    WorkflowExists,
)
from shared.workflows.refusals import RetryRefused, WorkflowGone

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Additional headers of error answers, by status code. After a failure of Postgres, the client can
#: repeat its request after a second.
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
#: Advice to the client about errors that Litestar itself raises, by status code.
NEXT = {
    400: "The request cannot be read. See /docs for what it should look like.",
    404: "There is nothing at this address. See /docs for the addresses of the API.",
    405: "This address does not accept this method. See /docs for the methods that it accepts.",
    413: "The body is too large. Put large data elsewhere and send its id.",
}
#: Advice after a POST that lost the connection to Postgres, so that its outcome is unknown.
#: `REPEAT` is for a request with an Idempotency-Key, and `LOOK_FIRST` for one without.
REPEAT = (
    "The request may have been carried out nevertheless. Send it again with the same Idempotency-Key, so "
    "that it takes effect only once."
)
LOOK_FIRST = (
    "The request may have been carried out nevertheless. Check before you send it again: GET "
    "/api/v1/tasks lists your tasks. A submission with an Idempotency-Key can be repeated safely."
)


class MalformedBody(OftenError):
    """Raised when the body of a request is not valid JSON."""


class NotSignedIn(OftenError):
    """Raised when the credentials of a request identify no account. The message says what to do."""


class NotAllowed(OftenError):
    """Raised when a caller may not use the value that the request has in `field`."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field} {rule}")
        self.problem = FieldProblem(field, rule)


class AddressTaken(OftenError):
    """Raised when another account has this email address."""


class UnknownAccount(OftenError):
    """Raised when the value of the request's field `field` is not the id of any account."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} names no account")
        self.field = field


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Build the OpenAPI entries for the problem documents that a handler may answer with."""
    return {
        status: ResponseSpec(
            Problem, description=HTTPStatus(status).phrase, media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in (*statuses, 408, 429, 500, 503)
    }


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Turn an exception into a problem document. This is the exception handler of the whole
    application.
    """
    if isinstance(error, ValidationException):
        problem = _invalid(parameters.problems(error, request))
    else:
        problem = describe(error)
    if _outcome_unknown(request, error):
        advice = REPEAT if "idempotency-key" in request.headers else LOOK_FIRST
        problem = msgspec.structs.replace(problem, detail=f"{error}. {advice}", outcome_unknown=True)
    request_id = request_ids.of(request.scope)
    if problem.status == 500:
        # Log the template of the path and not the path itself, which may contain a secret, such as
        # the token in a mail's link.
        route = request.scope.get("path_template", "?")
        extra = {"request_id": request_id}
        log.error("%s %s failed", request.method, route, exc_info=error, extra=extra)
        advice = (
            f"If it happens again, give the request id {request_id} to an administrator, who finds the cause "
            "under it in the log."
        )
        problem = msgspec.structs.replace(problem, detail=f"{problem.detail} {advice}")
    return Response(
        msgspec.structs.replace(problem, instance=request.url.path, request_id=request_id),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={**HEADERS.get(problem.status, {}), **(getattr(error, "headers", None) or {})},
    )


def _outcome_unknown(request: Request[Any, Any, Any], error: Exception) -> bool:
    """True if a failed POST request may have been committed nevertheless.

    For other methods this does not matter, because such requests can be repeated. If Postgres
    answered with an error, the statement was rolled back. If the caller could not be identified,
    nothing was changed.
    """
    if request.method != "POST" or request.scope.get("user") is None:
        return False
    if isinstance(error, ServerAway):
        return error.server == "Postgres" and not isinstance(error.__cause__, ConnectionRefusedError)
    return isinstance(error, RequestTooSlow)


@singledispatch
def describe(_: Exception) -> Problem:
    """Return the problem document that describes an error. An error without a registered
    description is a bug.
    """
    return _problem(500, "internal", "The server failed because of a bug. Try again later.")


@describe.register
def _(error: InvalidFields) -> Problem:
    return _invalid(error.problems)


@describe.register
def _(error: MalformedBody) -> Problem:
    return _problem(400, "malformed-body", f"The body is not valid JSON: {error}. Send a JSON object.")


@describe.register
def _(error: NotSignedIn) -> Problem:
    return _problem(401, "not-signed-in", str(error))


@describe.register
def _(error: NotAllowed) -> Problem:
    detail = "You may not do this for another account. Give your own id, or ask an administrator."
    return _problem(403, "not-allowed", detail, [error.problem])


@describe.register
def _(error: Refusal) -> Problem:
    return _problem(error.status, error.kind, str(error), error.problems)


@describe.register
def _(error: QuotaUsedUp) -> Problem:
    problem = _problem(error.status, error.kind, str(error))
    return msgspec.structs.replace(problem, quota=error.quota, amount=error.amount)


@describe.register
def _(error: RequestTooSlow) -> Problem:
    return _problem(error.status, error.kind, f"{error}. Send it again later.")


@describe.register
def _(error: TaskNotFound) -> Problem:
    detail = f"There is no task {error.task_id} among yours. List your tasks with GET /api/v1/tasks."
    return _problem(404, "task-not-found", detail)


@describe.register
def _(error: TaskFinished) -> Problem:
    detail = f"The task has already ended as {error.status}. Submit a new one if it is to run again."
    return msgspec.structs.replace(_problem(409, "task-finished", detail), task_status=error.status)


@describe.register
def _(_error: AddressTaken) -> Problem:
    detail = "An account with this address exists. Sign in, or register another address."
    return _problem(409, "address-taken", detail, [FieldProblem("email", "is taken")])


@describe.register
def _(error: UnknownTask) -> Problem:
    rule = f"must be one of {', '.join(error.known)}"
    detail = "No task has this name. Use one of the names listed in errors."
    return _problem(422, "unknown-task", detail, [FieldProblem("name", rule)])


@describe.register
def _(_error: KeyReused) -> Problem:
    detail = "Within the last day this key was sent with another request. Use a new key for a new request."
    problem = FieldProblem("Idempotency-Key", "was used with another request")
    return _problem(409, "key-reused", detail, [problem])


@describe.register
def _(error: WorkflowExists) -> Problem:
    problem = FieldProblem("unique", "is in use by an unfinished workflow")
    return _problem(409, "workflow-exists", f"{error}.", [problem])


@describe.register
def _(error: RetryRefused) -> Problem:
    return _problem(404 if isinstance(error, WorkflowGone) else 409, error.kind, str(error))


@describe.register
def _(error: WorkersTooOld) -> Problem:
    return _problem(409, "workers-too-old", f"{error}.")


@describe.register
def _(error: VaultError) -> Problem:
    """A stored value that must be decrypted is unreadable. This error is raised only if the request
    needs the value; other answers mark the field as unreadable.
    """
    return _problem(409, "unreadable-field", f"A sensitive field cannot be decrypted: {error}.")


@describe.register
def _(error: UnknownAccount) -> Problem:
    detail = "The account does not exist. Correct the field named in errors."
    return _problem(422, "unknown-account", detail, [FieldProblem(error.field, "names no account")])


@describe.register
def _(error: ServerUnavailable) -> Problem:
    return _problem(503, "server-away", f"{error}. Send the same request again shortly.")


@describe.register
def _(error: HTTPException) -> Problem:
    """Describe the errors raised by Litestar that no other handler here describes."""
    if error.status_code not in NEXT:
        return describe.dispatch(Exception)(error)
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return _problem(error.status_code, kind, NEXT[error.status_code])


def _problem(status: int, kind: str, detail: str, problems: list[FieldProblem] | None = None) -> Problem:
    return Problem(
        type=f"urn:often:problem:{kind}",
        title=kind.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        instance="",
        errors=[FieldRule(p.field, p.rule) for p in problems] if problems else msgspec.UNSET,
    )


def _invalid(problems: list[FieldProblem]) -> Problem:
    detail = "The request breaks rules and nothing was stored. Correct what errors lists and send it again."
    return _problem(400, "invalid-fields", detail, problems)
