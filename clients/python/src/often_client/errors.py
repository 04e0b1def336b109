"""The exceptions that the clients raise.

OftenError
├── ApiAway              no answer at all
└── ApiError             the API refused the request, or something else answered in its place
    ├── BadRequest       400, 413, 422: a field breaks its rule
    ├── NotSignedIn      401
    ├── Forbidden        403
    ├── NotFound         404
    ├── Conflict         409
    ├── TooManyRequests  429
    ├── ServerError      5xx
    │   └── Unavailable  503
    └── UnexpectedAnswer an answer that this client cannot read
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Self

import msgspec
from msgspec import Struct


class FieldRule(Struct):
    field: str
    rule: str


class Problem(Struct):
    """A problem document (RFC 9457), in which the API describes an error."""

    status: int
    #: Text for people, which says what happened and what to do next.
    detail: str
    #: Identifier of the problem's type. It stays the same in later releases, so programs can branch
    #: on it. Empty if the answer contained no problem document.
    type: str = ""
    errors: list[FieldRule] = []  # the list is not shared: msgspec copies the default for each instance
    #: Id of the request, by which the API's log lines and audit log can be searched.
    request_id: str | None = None
    #: True if the API may have carried out the request although it reports an error.
    outcome_unknown: bool = False
    #: Name of the quota that is used up. `amount` is the size of that quota.
    quota: str | None = None
    amount: int | None = None


class OftenError(Exception):
    """Base class of all exceptions that the clients raise on purpose."""


class ApiAway(OftenError):
    """Raised when the API does not answer. `outcome_unknown` is True if the API may have carried
    out the request.
    """

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class ApiError(OftenError):
    """Raised when the API refused the request. `problem` says why and what to do next."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        # Pickle passes Exception's own arguments to the constructor.
        super().__init__(problem, retry_after_s)
        self.problem = problem
        #: Seconds for which the API asks to wait before the next try; None if it does not.
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        rules = "".join(f"\n  {error.field or 'body'}: {error.rule}" for error in self.problem.errors)
        return f"{self.problem.detail}{rules}"

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def is_foreign(self) -> bool:
        """Whether something other than the API answered, such as a proxy in between."""
        return not self.problem.type

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the request that break a rule, each with the rule."""
        return {error.field: error.rule for error in self.problem.errors}


class BadRequest(ApiError):
    """A field of the request breaks a rule. `fields` names the fields and rules."""


class NotSignedIn(ApiError):
    """The request had no credentials, or they are no longer valid."""


class Forbidden(ApiError):
    """The role of the account, or the scopes of the API key, do not allow the request."""


class NotFound(ApiError):
    """The requested object does not exist, or it belongs to another account."""


class Conflict(ApiError):
    """The present state of the requested object does not allow the request. The message names the
    state.
    """


class TooManyRequests(ApiError):
    """The client has used up a rate limit or a quota."""


class ServerError(ApiError):
    """The API failed to process the request (status 5xx)."""


class Unavailable(ServerError):
    """The API cannot answer now (status 503).

    `problem.outcome_unknown` is True if the API may have carried out the request.
    """


class UnexpectedAnswer(ApiError):
    """The client cannot read the answer: another program answered, or another version
    of the API.
    """

    @classmethod
    def foreign(cls, status: int) -> Self:
        return cls(Problem(status, _foreign(status)))

    @classmethod
    def unreadable(cls, status: int, error: Exception) -> Self:
        """The error for an answer that is not JSON, or whose JSON has other fields than
        expected.
        """
        if isinstance(error, msgspec.ValidationError):
            detail = f"The API's answer has another form than this client expects: {error}. {OTHER_VERSION}"
            return cls(Problem(status, detail, type="urn:often-client:other-version"))
        return cls.foreign(status)


OTHER_VERSION = "Install the version of often-client that belongs to the API's release."

_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: BadRequest,
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: BadRequest,
    422: BadRequest,
    429: TooManyRequests,
    503: Unavailable,
}


def error_of(status: int, content: bytes, retry_after_s: float | None) -> ApiError:
    """The error for an answer with an error status. A proxy in between may have written the
    answer.
    """
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(status, _foreign(status))
    return kind(problem, retry_after_s)


def _foreign(status: int) -> str:
    phrase = next((f" {known.phrase}" for known in HTTPStatus if known == status), "")
    return (
        f"The answer {status}{phrase} does not come from the API. "
        "Check the address, and the proxies on the way to it."
    )
