"""Tests that a refused request keeps its answer if the audit log cannot record the refusal."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.api.audit.per_minute import PerMinute
from services.api.audit.refusals import Refusals
from services.api.http.refusals import RoleForbids
from services.api.identity.callers import Credential
from shared.ledger.database import Database

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path_template": "/api/v1/accounts",
    "headers": [],
    "client": ("192.0.2.1", 1),
    "state": {},
}
CALLER = {"user": SimpleNamespace(id=7), "auth": Credential()}


def _broken_clock() -> float:
    raise RuntimeError("the clock is broken")


@pytest.mark.parametrize(
    ("caller", "per_minute"),
    [({}, PerMinute()), (CALLER, PerMinute(_broken_clock))],
    ids=["the caller is unknown", "the limit of rows fails"],
)
async def test_an_error_while_a_refusal_is_recorded_is_only_logged(
    caller: dict[str, Any], per_minute: PerMinute, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(cast("Database", None), per_minute)
    await refusals.note(RoleForbids("user", ["operator"]), cast("Any", {**SCOPE, **caller}))
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert "the audit log could not record it" in record.getMessage()
