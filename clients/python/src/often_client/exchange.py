"""Describes the steps of one API call: sending the request, retries, token renewal, errors. It does
no I/O itself.

`perform` yields steps. A client (client.py, async_client.py) carries out each step and sends back
its result, so the sync and the async client follow the same rules.
"""

import logging
import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from often_client.answers import Tokens
from often_client.errors import ApiAway, UnexpectedAnswer, error_of

log = logging.getLogger(__name__)

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

#: Default time limit for an answer, in seconds.
TIMEOUT_S = 30.0
#: Pauses in seconds before a failed request is sent for the second, third, ... time, unless the API
#: asks for another pause.
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 4.0)
#: HTTP statuses after which a request is worth repeating: a rate limit was reached, or a server
#: behind the API is unavailable.
RETRYABLE = frozenset({429, 503})
#: Longest pause in seconds that the client accepts when the API asks for one. The API may ask for
#: hours, for example when the quota of a day is used up.
MAX_PAUSE_S = 60.0
UNAUTHORIZED = 401
IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Call(Generic[A_co]):
    """A call of the API: the route, its arguments, and the type of its answer."""

    method: str
    #: Path of the route, relative to /api/v1/.
    path: str
    answer: type[A_co]
    #: Query parameters. None is left out, and a list becomes a repeated parameter.
    query: Mapping[str, Any] = field(default_factory=dict)
    #: Request body, which is sent as JSON; None for a request without a body.
    body: Any = None
    #: Idempotency key: within a day, the API carries out only one of the requests with the same key.
    key: str | None = None
    #: Seconds for which the API may wait before it answers. They are added to the time limit.
    wait_s: float = 0.0

    @property
    def may_repeat(self) -> bool:
        """Whether sending the request twice has the same effect as sending it once."""
        return self.method == "GET" or self.key is not None


@dataclass(frozen=True, slots=True)
class Request:
    """A step that sends an HTTP request. Its result is a Reply or Unreachable."""

    method: str
    path: str
    query: Mapping[str, Any]
    #: HTTP headers. They contain the credentials, so `repr` omits them and tracebacks do not show
    #: them.
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that pauses for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Renew:
    """A step that replaces this expired access token, unless another thread or task has already
    replaced it.
    """

    expired: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The HTTP answer to a request."""

    status: int
    content: bytes
    #: Seconds in the answer's header Retry-After; None without that header.
    retry_after_s: float | None = None
    #: The answer's media type: the header Content-Type without its parameters.
    media_type: str = ""

    @property
    def is_error(self) -> bool:
        return self.status >= 400


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The result of a request to which no answer arrived."""

    cause: Exception
    #: Whether the request may have reached the API; False if no connection was opened.
    was_sent: bool
    #: Whether another try may succeed; False if the server's certificate is not trusted.
    may_pass: bool = True


Step: TypeAlias = Request | Wait | Renew
StepResult: TypeAlias = Reply | Unreachable | None
Steps: TypeAlias = Generator[Step, StepResult, A]


@dataclass(slots=True)
class Session:
    """The state that all requests of a client share: credentials, time limit and retries."""

    #: The API key or access token that authorizes requests; None if there is none.
    token: str | None = field(default=None, repr=False)
    #: Refresh token of the session; None if there is none, or if it has been used.
    refresh_token: str | None = field(default=None, repr=False)
    #: Whether the session began with a password, so that its tokens can be renewed.
    is_renewable: bool = False
    timeout_s: float = TIMEOUT_S
    #: Pauses in seconds before a request is sent again. Their number is the maximum number of
    #: repetitions.
    pauses_s: Sequence[float] = PAUSES_S

    def sign_in(self, tokens: Tokens) -> None:
        self.token, self.refresh_token = tokens.access_token, tokens.refresh_token
        self.is_renewable = True

    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def pauses(retries: int) -> Sequence[float]:
    """The pauses in seconds for this many repetitions of a request. If there are more than PAUSES_S
    has, its last pause is used for the rest.
    """
    return [PAUSES_S[min(number, len(PAUSES_S) - 1)] for number in range(retries)]


def new_key() -> str:
    """Create a random idempotency key."""
    return str(uuid4())


def perform(session: Session, call: Call[A]) -> Steps[A]:
    """Send an API call and return its answer. Raises ApiError or ApiAway."""
    token = session.token
    reply = yield from _send(session, call)
    if reply.status == UNAUTHORIZED and token is not None and session.is_renewable:
        yield Renew(token)
        reply = yield from _send(session, call)
    return _answer(call, reply)


def renew(session: Session) -> Steps[None]:
    """Replace the tokens of a session. Raises ApiError or ApiAway.

    A refresh token can be used only once: the API treats a second use as theft, and ends the
    session. So the client forgets the refresh token as soon as the API may have received it.
    """
    refresh_token = session.refresh_token
    if refresh_token is None:
        return
    session.refresh_token = None
    call = Call("POST", "auth/refresh", Tokens, body={"refresh_token": refresh_token})
    try:
        reply = yield from _send(session, call)
    except ApiAway as error:
        if not error.outcome_unknown:
            session.refresh_token = refresh_token
        raise
    session.sign_in(_answer(call, reply))


def segment(name: str) -> str:
    """Escape a name, so that it becomes one segment of a URL path whichever characters it
    contains.
    """
    return quote(name, safe="")


def request_of(session: Session, call: Call[Any]) -> Request:
    """Build the HTTP request of an API call."""
    headers = session.headers()
    content = None
    if call.body is not None:
        headers["Content-Type"] = "application/json"
        content = msgspec.json.encode(call.body)
    if call.key is not None:
        headers[IDEMPOTENCY_KEY] = call.key
    timeout_s = session.timeout_s + call.wait_s
    return Request(call.method, call.path, _query(call.query), headers, content, timeout_s)


def api_away(cause: Exception, *, outcome_unknown: bool = False) -> ApiAway:
    """The exception for a request that is given up because no answer arrived."""
    reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
    advice = "Check its address and whether it runs (`often doctor` does both), then try again."
    if outcome_unknown:
        advice = "It may have carried out the request all the same: look before you send it again."
    return ApiAway(f"The API does not answer ({reason}). {advice}", outcome_unknown=outcome_unknown)


def pause_before_repeat(call: Call[Any], result: StepResult, usual_s: float) -> float | None:
    """Seconds to wait before a call is sent again; None if it must not be sent again, or if that
    would not help.
    """
    match result:
        case Unreachable(was_sent=was_sent, may_pass=may_pass):
            return _with_jitter(usual_s) if may_pass and (call.may_repeat or not was_sent) else None
        case Reply(status=status, retry_after_s=asked_s) if status in RETRYABLE and call.may_repeat:
            if asked_s is None:
                return _with_jitter(usual_s)
            return asked_s if asked_s <= MAX_PAUSE_S else None
        case _:
            return None


def _send(session: Session, call: Call[Any]) -> Generator[Step, StepResult, Reply]:
    """Send a call, and send it again as long as that is safe and may help. Raises ApiAway."""
    was_sent = False
    for usual_s in (*session.pauses_s, None):
        result = yield request_of(session, call)
        if isinstance(result, Unreachable):
            was_sent |= result.was_sent
        pause_s = None if usual_s is None else pause_before_repeat(call, result, usual_s)
        if pause_s is None:
            break
        failure = f"status {result.status}" if isinstance(result, Reply) else repr(result)
        fields = {"method": call.method, "path": call.path, "failure": failure, "pause_s": pause_s}
        log.info("request failed; it is sent again after a pause", extra=fields)
        yield Wait(pause_s)
    if isinstance(result, Unreachable):
        outcome_unknown = was_sent and call.method != "GET"
        raise api_away(result.cause, outcome_unknown=outcome_unknown) from result.cause
    assert isinstance(result, Reply)
    return result


def _answer(call: Call[A], reply: Reply) -> A:
    """Decode the answer of a call. Raises ApiError for an error status or unreadable content."""
    if reply.is_error:
        raise error_of(reply.status, reply.content, reply.retry_after_s)
    if call.answer is type(None):
        return None
    try:
        return msgspec.json.decode(reply.content, type=call.answer)
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer.unreadable(reply.status, error) from error


def _with_jitter(pause_s: float) -> float:
    """Lengthen a pause by a random factor from 1 to 1.5, so that clients that failed together do
    not all send again at once.
    """
    return pause_s * random.uniform(1.0, 1.5)


def _query(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Any) -> Any:
    """Convert a value to the text form in which the API reads query parameters."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case list() | tuple() | set() | frozenset():
            return [_text(each) for each in value]
        case _:
            return str(msgspec.to_builtins(value))
