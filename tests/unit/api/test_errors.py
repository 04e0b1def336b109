"""Tests that errors are answered as problem documents (RFC 9457)."""

import logging
from typing import Any

import pytest
from litestar import Litestar, get, post
from litestar.params import FromPath, JSONBody
from litestar.testing import TestClient

from services.api.http.body import StrictRequest
from services.api.http.errors import respond


@get("/broken")
async def _broken() -> None:
    raise RuntimeError("password=hunter2")


def test_an_unforeseen_error_is_logged_and_keeps_its_text_inside(caplog: pytest.LogCaptureFixture) -> None:
    app = Litestar([_broken], exception_handlers={Exception: respond}, logging_config=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


def test_the_answer_to_an_unforeseen_error_names_the_request_id_of_its_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Litestar([_broken], exception_handlers={Exception: respond}, logging_config=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken", headers={"X-Request-Id": "a-trace:7"})
    assert "the request id a-trace:7" in answer.json()["detail"]
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.__dict__["request_id"] == answer.json()["request_id"] == "a-trace:7"


@get("/unsubscribe/{link:str}")
async def _broken_link(link: FromPath[str]) -> None:
    raise RuntimeError("broken")


def test_the_log_line_of_an_error_has_nothing_of_the_address_or_the_headers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Litestar([_broken_link], exception_handlers={Exception: respond}, logging_config=None)
    caplog.set_level(logging.DEBUG)
    for of_the_client in ("httpx", "httpcore"):
        caplog.set_level(logging.WARNING, of_the_client)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/unsubscribe/hunter2?key=hunter3", headers={"Authorization": "Bearer hunter4"})
    assert answer.status_code == 500
    assert "GET /unsubscribe/{link} failed" in caplog.text
    assert "hunter" not in caplog.text


@post("/taken")
async def _taken(data: JSONBody[dict[str, int]]) -> None: ...


async def test_a_client_that_disconnects_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    app = Litestar(
        [_taken], exception_handlers={Exception: respond}, request_class=StrictRequest, logging_config=None
    )
    arrived = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(arrived)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/taken",
        "raw_path": b"/taken",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("192.0.2.1", 1),
        "root_path": "",
        "server": ("often", 80),
        "scheme": "http",
        "http_version": "1.1",
        "state": {},
        "extensions": {},
    }
    with caplog.at_level(logging.INFO):
        await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
