"""Errors become problem documents."""

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

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
