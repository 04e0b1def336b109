"""Errors that clients of the API may see. Each class defines the problem document that the client
gets.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from shared.errors import FieldProblem, OftenError


class Refusal(OftenError):
    """Base class of errors with which the API refuses requests. The message says what to do next."""

    status: ClassVar[int]
    #: The last part of the `type` in the problem document, on which programs can branch.
    kind: ClassVar[str]

    def __init__(self, detail: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.problems = list(problems)
        #: Additional headers of the error answer.
        self.headers: dict[str, str] = {}


class RoleForbids(Refusal):
    """Raised when the caller's role may not use a route. `roles` are the roles that may use it."""

    status, kind = 403, "role-forbids"

    def __init__(self, role: str, roles: Sequence[str]) -> None:
        super().__init__(f"Your role {role} may not do this. Ask an administrator for {' or '.join(roles)}.")


class ScopeMissing(Refusal):
    """Raised when an API key lacks the scope that a route requires. `scope` is None if the route
    accepts no API key.
    """

    status, kind = 403, "scope-missing"

    def __init__(self, scope: str | None) -> None:
        if scope is None:
            detail = "No API key may do this. Sign in with POST /api/v1/auth/login and send the access token."
        else:
            detail = f"This API key lacks the scope {scope}. Make one that has it with POST /api/v1/keys."
        super().__init__(detail)


class AccountNotFound(Refusal):
    """Raised when no account has this id."""

    status, kind = 404, "account-not-found"

    def __init__(self, account_id: object) -> None:
        super().__init__(f"There is no account {account_id}. List the accounts with GET /api/v1/accounts.")


class AccountBeingErased(Refusal):
    """Raised when an account that is being erased would be changed."""

    status, kind = 409, "account-being-erased"

    def __init__(self, account_id: int) -> None:
        super().__init__(
            f"The account {account_id} is being erased and cannot be changed. Its address can be registered "
            "again once GET /api/v1/accounts no longer lists the account."
        )


class KeyNotFound(Refusal):
    """Raised when no API key has this id, or it belongs to another account."""

    status, kind = 404, "key-not-found"

    def __init__(self, key_id: object) -> None:
        super().__init__(f"There is no API key {key_id} among yours. List your keys with GET /api/v1/keys.")


class TaskRestricted(Refusal):
    """Raised when a caller who is not staff submits a kind of task that only staff may submit."""

    status, kind = 403, "task-restricted"

    def __init__(self, name: str, *, field: str = "name") -> None:
        """`field` is the name of the request's field that selected the kind of task."""
        problem = FieldProblem(field, f"{name} is for operators and administrators")
        super().__init__("Your role may not submit this task. Ask an operator to do it.", [problem])


class TaskNotFinished(Refusal):
    """Raised when a caller asks for the result of a task that has not ended."""

    status, kind = 409, "task-not-finished"

    def __init__(self, task_id: object, status: str) -> None:
        super().__init__(f"The task is {status}; it has no result yet. Ask again when it has ended.")
        self.headers = {"Retry-After": "1"}


class NotRetriable(Refusal):
    """Raised when a task cannot be retried, because it neither failed nor was canceled."""

    status, kind = 409, "not-retriable"

    def __init__(self, status: str) -> None:
        detail = f"Only a task that failed or was canceled can be retried; this one is {status}."
        super().__init__(f"{detail} Submit a new one if it is to run again.")


class LastAdministrator(Refusal):
    """Raised when a change would leave no active administrator."""

    status, kind = 409, "last-administrator"

    def __init__(self) -> None:
        super().__init__(
            "This is the last active administrator. Make another account an administrator first.",
        )


class TooManyKeys(Refusal):
    """Raised when an account would get another API key but has the maximum number."""

    status, kind = 409, "too-many-keys"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"You have {most} API keys, which is the limit. Revoke one with DELETE /api/v1/keys/{{id}}."
        )


class RequestTooSlow(Refusal):
    """Raised when the server did not finish a request in time."""

    status, kind = 503, "request-too-slow"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"This took longer than {timeout_s:g} s and was given up")


class BodyTooSlow(Refusal):
    """Raised when the body of a request did not arrive in time."""

    status, kind = 408, "body-too-slow"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The body did not arrive within {timeout_s:g} s. Send the request again, faster.")
        # Close the connection, so that the unread rest of the body is not parsed as the next
        # request.
        self.headers = {"Connection": "close"}


class ClientGone(Refusal):
    """Raised when the client disconnected before its request was complete. No answer reaches the
    client.
    """

    status, kind = 400, "client-gone"

    def __init__(self) -> None:
        super().__init__("The connection was closed before the body was complete. Send the request again.")


class Wait(Refusal):
    """Base class of temporary errors. The header Retry-After says when to send the request again."""

    status = 429

    def __init__(self, reason: str, wait_s: float) -> None:
        seconds = max(1, math.ceil(wait_s))
        super().__init__(f"{reason} Wait {seconds} s, then send the request again.")
        self.headers = {"Retry-After": str(seconds)}


class QuotaUsedUp(Wait):
    """Raised when a quota of the caller's role is used up for the current time window."""

    kind = "quota-used-up"

    def __init__(self, quota: str, amount: int, taken: int, role: str, wait_s: float) -> None:
        super().__init__(
            f"Your role {role} has used {taken} of its quota {quota} of {amount}. "
            "GET /api/v1/auth/me/quotas shows what is left.",
            wait_s,
        )
        self.quota = quota
        self.amount = amount


class TooManyRequests(Wait):
    """Raised when a caller has used up a rate limit."""

    kind = "too-many-requests"

    def __init__(self, limit: str, wait_s: float) -> None:
        super().__init__(f"More requests were sent than the limit of {limit} allows.", wait_s)
