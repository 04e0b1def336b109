"""The command `often doctor`, which checks the platform from outside: access, the API, its servers,
workers and queues.

For each failed check it prints a remedy.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec
import rich_click as click

from often_client.cli import profile
from often_client.cli.access import TOKEN, Access
from often_client.cli.exit_codes import AWAY, DONE, WRONG
from often_client.cli.finding import Finding
from often_client.cli.options import as_json, end, pass_access
from often_client.cli.output import line, print_json
from often_client.cli.reachability import not_reached
from often_client.cli.text import plain
from often_client.errors import ApiAway, ApiError, Forbidden, NotFound, NotSignedIn, UnexpectedAnswer
from often_client.version import VERSION

if TYPE_CHECKING:
    import httpx

#: Largest accepted difference in seconds between the clocks of this machine and the API's. Access
#: tokens and schedules tolerate about this much.
MAX_CLOCK_S = 5.0
#: Number of days: an API key that expires sooner is reported.
KEY_WARNING_DAYS = 7
TIMEOUT_S = 10.0
RUNBOOK = "Follow docs/operations.md."
ADDRESS = "Give the API's address with --api, OFTEN_API or `often login`."


class Ready(msgspec.Struct):
    """The API's answer to a request for /health/ready."""

    status: str
    servers: dict[str, str]


class Unanswered(Exception):
    """Raised when the API cannot be used at all, so further checks are pointless. `finding` says
    why.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


@click.command()
@as_json
@pass_access
def doctor(access: Access, as_json: bool) -> None:
    """Check access, servers, clock, workers and queues.

    Each failed check is followed by what to do next. The exit code is 1 if a check fails, and 5 if the
    API does not answer.
    """
    code = DONE
    try:
        for finding in _findings(access):
            _print(finding, as_json=as_json)
            code = code if finding.is_ok else WRONG
    except Unanswered as error:
        _print(error.finding, as_json=as_json)
        code = AWAY
    end(code)


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json(finding._asdict())
        return
    line(f"{'✓' if finding.is_ok else '✕'} {finding.check}: {plain(finding.detail)}")
    if not finding.is_ok and finding.remedy:
        line(f"    {plain(finding.remedy)}")


def _findings(access: Access) -> Iterator[Finding]:
    """Run the checks one after another. Raises Unanswered if the API cannot be used."""
    yield from _key(access)
    yield from _api(access)
    if access.token is None:
        remedy = f"Run `often login`, or set {TOKEN} to an API key."
        yield Finding("credentials", False, f"there are none for {access.api}", remedy)
        return
    try:
        me = access.client.me()
        yield Finding("credentials", True, f"{me.email}, {me.role}")
        yield from _platform(access)
    except ApiAway as error:
        raise Unanswered(not_reached(access.api, error)) from error
    except ApiError as error:
        yield _refusal(access, error)


def _key(access: Access) -> Iterator[Finding]:
    """Check the stored API key: that its file is private, and that it does not expire soon."""
    kept = access.profile
    if kept is None:
        return
    mode = profile.mode(access.name)
    yield Finding(
        "key file",
        profile.is_private(mode),
        f"mode {mode:o}",
        f"Other users may read it: chmod 600 {profile.path(access.name)}",
    )
    days = (datetime.fromisoformat(kept.expires_at) - datetime.now(UTC)).days
    yield Finding("key", days >= KEY_WARNING_DAYS, f"valid for {days} days", "Run `often login` again.")


def _api(access: Access) -> Iterator[Finding]:
    """Check that the API answers, that it is ready, and that its clock agrees. Raises
    Unanswered.
    """
    import httpx  # noqa: PLC0415

    url = f"{access.api}/health/ready"
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False, verify=access.verify, proxy=access.proxy)
    except httpx.TransportError as error:
        raise Unanswered(not_reached(access.api, error)) from error
    ready = _ready(access, answer)
    servers = ", ".join(f"{name} {state}" for name, state in ready.servers.items())
    detail = f"{access.api} is {ready.status}{f' ({servers})' if servers else ''}"
    yield Finding("api", answer.is_success, detail, f"Look at the API's log. {RUNBOOK}")
    yield from _clock(answer)


def _ready(access: Access, answer: "httpx.Response") -> Ready:
    """Decode the answer to /health/ready. Raises Unanswered if something other than the API
    answered.
    """
    try:
        return msgspec.json.decode(answer.content, type=Ready)
    except msgspec.DecodeError:
        server = answer.headers.get("Server")
        by = f" by {server}" if server else ""
        detail = f"{access.api} answers{by}, but it is not the API: /health/ready gives {answer.status_code}"
        remedy = (
            f"{ADDRESS} If it is right, a proxy on the way answers instead: let it pass /health and /api."
        )
        raise Unanswered(Finding("address", False, detail, remedy)) from None


def _clock(answer: "httpx.Response") -> Iterator[Finding]:
    if "Date" in answer.headers:
        apart_s = abs((datetime.now(UTC) - parsedate_to_datetime(answer.headers["Date"])).total_seconds())
        remedy = "Set the clock of this machine, or that of the API's machine, with NTP."
        yield Finding("clock", apart_s <= MAX_CLOCK_S, f"{apart_s:.0f} s apart", remedy)


def _refusal(access: Access, error: ApiError) -> Finding:
    """A finding that explains why the API refused a request of the checks."""
    match error:
        case ApiError(is_foreign=True):
            remedy = f"{ADDRESS} A proxy on the way must let /api pass."
            return Finding("address", False, str(error), remedy)
        case NotSignedIn():
            source = TOKEN if access.uses_environment else "the stored key"
            remedy = f"It may have expired or been revoked. Run `often login` again, or renew {TOKEN}."
            return Finding("credentials", False, f"{access.api} refuses {source}: {error}", remedy)
        case Forbidden():
            remedy = "Sign in as another account, or ask an administrator for the role or the scope."
            return Finding("rights", False, f"the account may not read this: {error}", remedy)
        case UnexpectedAnswer() | NotFound():
            detail = f"often-client {VERSION} and the API do not fit together: {error}"
            return Finding("version", False, detail, "Install the client of the API's release.")
        case _:
            return Finding("api", False, str(error), f"Look at the API's log. {RUNBOOK}")


def _platform(access: Access) -> Iterator[Finding]:
    """Check what the API reports about the platform. Raises ApiError and ApiAway."""
    client = access.client
    try:
        health = client.health()
    except Forbidden as error:
        if error.is_foreign:
            raise
        detail = "this account or key may not read the health of the platform"
        remedy = "Use an account of a viewer, operator or administrator, and a key with operations:read."
        yield Finding("rights", False, detail, remedy)
        return
    for server, facts in health.servers.items():
        answer = str(facts.get("answer"))
        yield Finding(server, answer == "ok", answer, RUNBOOK)
    for problem in health.problems:
        yield Finding(problem.code, problem.severity == "notice", problem.sentence, problem.remedy)
    for name in health.unknown:
        yield Finding(name, False, "not read in time", "Try again. If it remains so, look at Postgres.")
    for queue in client.queues():
        if queue.waiting and not queue.workers and queue.paused is None:
            detail = f"{queue.queue}: {queue.waiting} tasks wait, and no worker serves it"
            remedy = f"Start one: OFTEN_WORKER_QUEUES={queue.queue} python -m services.worker"
            yield Finding("queue", False, detail, remedy)
