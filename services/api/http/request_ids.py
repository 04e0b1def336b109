"""Gives each request an id, which its answer, its log lines and its rows in the audit log carry."""

import re
import secrets
from typing import Final, cast

from litestar.types import Scope

HEADER: Final = "X-Request-Id"
#: Ids that are taken from the client or a proxy; others are replaced.
_SANE = re.compile(rb"[A-Za-z0-9._:/+=-]{1,100}")
_KEY = "request_id"


def of(scope: Scope) -> str:
    """The id of a request, the same however often it is asked for."""
    state = scope.setdefault("state", {})
    if _KEY not in state:
        state[_KEY] = _given(scope) or secrets.token_hex(16)
    return cast("str", state[_KEY])


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            return value.decode()
    return None
