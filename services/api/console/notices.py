"""A short message about the result of the form that was submitted last.

A cookie carries the message to the next page, which shows it once.
"""

from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from litestar import Response
from litestar.connection import ASGIConnection
from litestar.response import Redirect

from services.api.console import cookie

NAME = "often-notice"
MAX_AGE_S = 60
MAX_LENGTH = 600


class Notice(NamedTuple):
    #: "good" for a success, or "bad" for a refusal. It selects the color of the notice.
    tone: str
    text: str


def read(connection: ASGIConnection[Any, Any, Any, Any]) -> Notice | None:
    tone, _, text = unquote(connection.cookies.get(NAME, "")).partition(":")
    return Notice(tone, text[:MAX_LENGTH]) if tone in ("good", "bad") and text else None


def forget(connection: ASGIConnection[Any, Any, Any, Any], response: Response[Any]) -> None:
    response.cookies.append(cookie.preference(connection, NAME, "", max_age_s=0))


def back(
    connection: ASGIConnection[Any, Any, Any, Any], path: str, text: str, *, tone: str = "good"
) -> Redirect:
    """Redirect to a page that shows the message."""
    value = quote(f"{tone}:{text[:MAX_LENGTH]}", safe="")
    kept = cookie.preference(connection, NAME, value, max_age_s=MAX_AGE_S)
    return Redirect(path, status_code=303, cookies=[kept])
