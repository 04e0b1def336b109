"""Tests of when the client sends a request again, and how it reports a failure."""

import pickle
from typing import Any

import pytest

from often_client import ApiAway, BadRequest, Client, NotFound, OftenError, UnexpectedAnswer
from often_client.answers import Tokens
from often_client.connection import api_url
from often_client.errors import FieldRule, Problem
from often_client.exchange import (
    MAX_PAUSE_S,
    PAUSES_S,
    Call,
    Reply,
    Request,
    Session,
    StepResult,
    Steps,
    Unreachable,
    Wait,
    pauses,
    perform,
    renew,
    request_of,
)

READ = Call("GET", "tasks", dict[str, Any])
ACT = Call("POST", "tasks/7/retry", dict[str, Any], body={})
SUBMISSION = Call("POST", "tasks", dict[str, Any], body={}, key="once")
DONE = Reply(200, b'{"done": true}')
REFUSED = Unreachable(ConnectionRefusedError("refused"), was_sent=False)
CUT_OFF = Unreachable(TimeoutError("no answer"), was_sent=True)
UNTRUSTED = Unreachable(OSError("self-signed"), was_sent=False, may_pass=False)


def carried_out(steps: Steps[Any], *results: StepResult) -> tuple[Any, list[float]]:
    """Run the steps of a call with these results of its requests.

    Returns the call's answer, and the pauses that it made before repetitions.
    """
    waiting, waited = list(results), []
    step = next(steps)
    while True:
        result: StepResult = None
        if isinstance(step, Request):
            result = waiting.pop(0)
        elif isinstance(step, Wait):
            waited.append(step.seconds)
        try:
            step = steps.send(result)
        except StopIteration as end:
            assert not waiting
            return end.value, waited


@pytest.mark.parametrize(
    ("call", "results", "repeats"),
    [
        (READ, (CUT_OFF, REFUSED, Reply(503, b""), Reply(429, b"")), True),
        (SUBMISSION, (CUT_OFF, REFUSED, Reply(503, b""), Reply(429, b"")), True),
        (ACT, (REFUSED, REFUSED), True),
        (ACT, (CUT_OFF,), False),
        (ACT, (Reply(503, b""),), False),
        (READ, (UNTRUSTED,), False),
        (READ, (Reply(429, b"", retry_after_s=MAX_PAUSE_S + 1),), False),
        (READ, (Reply(500, b""),), False),
    ],
)
def test_a_request_is_repeated_where_that_is_safe_and_may_help(
    call: Call[Any], results: tuple[StepResult, ...], *, repeats: bool
) -> None:
    if repeats:
        answer, waited = carried_out(perform(Session("key"), call), *results, DONE)
        assert (answer, len(waited)) == ({"done": True}, len(results))
    else:
        with pytest.raises(OftenError):
            carried_out(perform(Session("key"), call), *results)


def test_a_repetition_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "often_client")
    carried_out(perform(Session("key"), READ), Reply(503, b"", retry_after_s=2.0), DONE)
    (record,) = caplog.records
    assert (record.__dict__["path"], record.__dict__["failure"], record.__dict__["pause_s"]) == (
        "tasks",
        "status 503",
        2.0,
    )


def test_pauses_are_those_that_the_api_asks_for_or_a_little_longer_than_planned() -> None:
    asked = Reply(503, b"", retry_after_s=7.0)
    _, waited = carried_out(perform(Session("key"), READ), asked, CUT_OFF, DONE)
    assert waited[0] == 7.0
    assert PAUSES_S[1] <= waited[1] <= 1.5 * PAUSES_S[1]


@pytest.mark.parametrize("retries", [0, 3, 9])
def test_a_caller_chooses_the_number_of_repetitions(retries: int) -> None:
    session = Session("key", pauses_s=pauses(retries))
    with pytest.raises(ApiAway):
        carried_out(perform(session, READ), *[REFUSED] * (retries + 1))


@pytest.mark.parametrize(
    ("call", "results", "unknown"),
    [(ACT, [CUT_OFF], True), (SUBMISSION, [CUT_OFF, *[REFUSED] * 5], True), (READ, [CUT_OFF] * 6, False)],
)
def test_an_api_that_goes_away_may_have_carried_out_the_request(
    call: Call[Any], results: list[StepResult], *, unknown: bool
) -> None:
    with pytest.raises(ApiAway) as away:
        carried_out(perform(Session("key"), call), *results)
    assert away.value.outcome_unknown == unknown
    assert ("may have carried out" in str(away.value)) == unknown


def test_a_refresh_token_that_was_never_sent_is_kept_and_another_is_not() -> None:
    for results, kept in (([REFUSED] * 6, "refresh"), ([CUT_OFF], None)):
        session = Session("access", "refresh", is_renewable=True)
        with pytest.raises(ApiAway):
            carried_out(renew(session), *results)
        assert session.refresh_token == kept
    session = Session("access", "refresh", is_renewable=True)
    carried_out(renew(session), Reply(200, b'{"access_token":"a","refresh_token":"r","expires_in":9}'))
    assert (session.token, session.refresh_token) == ("a", "r")


@pytest.mark.parametrize(
    ("reply", "kind", "is_foreign"),
    [
        (Reply(404, b"<html>nginx</html>"), NotFound, True),
        (Reply(200, b"<html>login</html>"), UnexpectedAnswer, True),
        (Reply(200, b'{"access": "other"}'), UnexpectedAnswer, False),
        (Reply(400, b'{"status":400,"type":"urn:often:problem:x","detail":"No."}'), BadRequest, False),
    ],
)
def test_an_answer_of_another_program_or_version_is_named(
    reply: Reply, kind: type[Exception], *, is_foreign: bool
) -> None:
    with pytest.raises(kind) as refused:
        carried_out(perform(Session("key"), Call("GET", "x", Tokens)), reply)
    assert refused.value.is_foreign == is_foreign  # type: ignore[attr-defined]


def test_errors_may_be_sent_to_another_process() -> None:
    problem = Problem(400, "No.", type="urn:x", errors=[FieldRule("params.x", "is not a known field")])
    refused = pickle.loads(pickle.dumps(BadRequest(problem, 7.0)))
    assert (str(refused), refused.fields) == (
        "No.\n  params.x: is not a known field",
        {"params.x": "is not a known field"},
    )
    assert refused.retry_after_s == 7.0
    assert pickle.loads(pickle.dumps(ApiAway("away", outcome_unknown=True))).outcome_unknown


def test_credentials_are_not_shown() -> None:
    session = Session("secret", "secret too")
    assert "secret" not in repr(session)
    assert "secret" not in repr(request_of(session, SUBMISSION))


@pytest.mark.parametrize(
    ("address", "proxy"), [("tasks.example", None), ("ftp://x", None), ("http://", None), ("http://x", "y:1")]
)
def test_an_unusable_address_is_refused_at_once(address: str, proxy: str | None) -> None:
    with pytest.raises(ValueError, match="must look like http"):
        Client(address, "key", proxy=proxy)


@pytest.mark.parametrize("address", ["http://x:8000", "http://x:8000/", "http://x:8000/api/v1/"])
def test_an_address_may_name_the_routes_or_not(address: str) -> None:
    assert api_url(address) == "http://x:8000/api/v1/"
