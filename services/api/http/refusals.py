"""What the API refuses to people: each refusal knows the problem document that it is answered with."""

import math
from collections.abc import Sequence
from typing import ClassVar

from shared.errors import FieldProblem, OftenError


class Refusal(OftenError):
    """Base of the refusals; the message says what to do next."""

    status: ClassVar[int]
    #: The end of the problem's type, for programs to branch on.
    kind: ClassVar[str]

    def __init__(self, detail: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.problems = list(problems)
        #: Of the answer.
        self.headers: dict[str, str] = {}


class RoleForbids(Refusal):
    """The caller's role may not use this route; those in `roles` may."""

    status, kind = 403, "role-forbids"

    def __init__(self, role: str, roles: Sequence[str]) -> None:
        super().__init__(f"Your role {role} may not do this. Ask an administrator for {' or '.join(roles)}.")


class ScopeMissing(Refusal):
    """The API key was not made for this route; None: no key is."""

    status, kind = 403, "scope-missing"

    def __init__(self, scope: str | None) -> None:
        if scope is None:
            detail = "No API key may do this. Sign in with POST /api/v1/auth/login and send the access token."
        else:
            detail = f"This API key lacks the scope {scope}. Make one that has it with POST /api/v1/keys."
        super().__init__(detail)


class AccountNotFound(Refusal):
    """No account has this id."""

    status, kind = 404, "account-not-found"

    def __init__(self, account_id: int) -> None:
        super().__init__(f"There is no account {account_id}. List the accounts with GET /api/v1/accounts.")


class AccountBeingErased(Refusal):
    """The account was deactivated for good."""

    status, kind = 409, "account-being-erased"

    def __init__(self, account_id: int) -> None:
        super().__init__(
            f"The account {account_id} is being erased and cannot be changed. Its address can be registered "
            "again once GET /api/v1/accounts no longer lists the account."
        )


class KeyNotFound(Refusal):
    """No API key has this id, or it belongs to another account."""

    status, kind = 404, "key-not-found"

    def __init__(self, key_id: object) -> None:
        super().__init__(f"There is no API key {key_id} among yours. List your keys with GET /api/v1/keys.")


class TaskRestricted(Refusal):
    """Only staff may submit this kind of task."""

    status, kind = 403, "task-restricted"

    def __init__(self, name: str, *, field: str = "name") -> None:
        """`field` is the one that chose the task."""
        problem = FieldProblem(field, f"{name} is for operators and administrators")
        super().__init__("Your role may not submit this task. Ask an operator to do it.", [problem])


class TaskNotFinished(Refusal):
    """There is no result yet."""

    status, kind = 409, "task-not-finished"

    def __init__(self, task_id: object, status: str) -> None:
        super().__init__(f"The task is {status}; its result comes with its end. Ask again later.")
        self.headers = {"Retry-After": "1"}


class NotRetriable(Refusal):
    """Only a task that failed or was canceled can run again."""

    status, kind = 409, "not-retriable"

    def __init__(self, status: str) -> None:
        detail = f"Only a task that failed or was canceled can be retried; this one is {status}."
        super().__init__(f"{detail} Submit a new one if it is to run again.")


class LastAdministrator(Refusal):
    """Nobody would be left to administer."""

    status, kind = 409, "last-administrator"

    def __init__(self) -> None:
        super().__init__(
            "This is the last active administrator. Make somebody else an administrator first.",
        )


class TooManyKeys(Refusal):
    """One account has as many API keys as it may have."""

    status, kind = 409, "too-many-keys"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"You have {most} API keys, which is the limit. Revoke one with DELETE /api/v1/keys/{{id}}."
        )


class RequestTooSlow(Refusal):
    """The request was not done in time on our side."""

    status, kind = 503, "request-too-slow"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"This took longer than {timeout_s:g} s and was given up")


class BodyTooSlow(Refusal):
    """The body did not arrive in time."""

    status, kind = 408, "body-too-slow"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"The body did not arrive within {timeout_s:g} s. Send the request again, faster.")
        # The rest of the body must not be taken for the next request.
        self.headers = {"Connection": "close"}


class ClientGone(Refusal):
    """The client disconnected before its request was complete. Nobody reads the answer."""

    status, kind = 400, "client-gone"

    def __init__(self) -> None:
        super().__init__("The connection was closed before the body was complete. Send the request again.")


class Wait(Refusal):
    """Base of what passes by itself."""

    status = 429

    def __init__(self, reason: str, wait_s: float) -> None:
        seconds = max(1, math.ceil(wait_s))
        super().__init__(f"{reason} Wait {seconds} s, then send the request again.")
        self.headers = {"Retry-After": str(seconds)}


class QuotaUsedUp(Wait):
    """The caller's role may not take more of a quota for now."""

    kind = "quota-used-up"

    def __init__(self, quota: str, amount: int, taken: int, role: str, wait_s: float) -> None:
        super().__init__(
            f"Your role {role} has a quota {quota} of {amount}, and {taken} of it are taken. "
            "GET /api/v1/auth/me/quotas shows what is left.",
            wait_s,
        )
        self.quota = quota
        self.amount = amount


class TooManyRequests(Wait):
    """A rate limit is used up."""

    kind = "too-many-requests"

    def __init__(self, limit: str, wait_s: float) -> None:
        super().__init__(f"More than {limit} were sent.", wait_s)
