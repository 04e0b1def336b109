"""Gives each request an id, which appears in its answer, its log lines and its rows in the audit log."""

import re
import secrets
from typing import Final, cast

from litestar.types import Scope

HEADER: Final = "X-Request-Id"
#: The format of request ids that are accepted from a client or a proxy. Other ids are replaced by
#: new ones.
_SANE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,100}")
_KEY = "request_id"


def of(scope: Scope) -> str:
    """Return the id of a request. Repeated calls return the same id."""
    state = scope.setdefault("state", {})
    if _KEY not in state:
        state[_KEY] = _given(scope) or secrets.token_hex(16)
    return cast("str", state[_KEY])


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            return value.decode()
    return None
