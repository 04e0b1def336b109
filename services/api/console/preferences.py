"""The display preferences of a console user, kept in a browser cookie of their own."""

from typing import Any, NamedTuple

from litestar import Request, Response, post
from litestar.connection import ASGIConnection
from litestar.response import Redirect

from services.api.console import addresses, cookie

NAME = "often-view"
MAX_AGE_S = 400 * 86_400
THEMES = ("system", "light", "dark")
ZONES = ("local", "utc")


class Chosen(NamedTuple):
    theme: str = "system"
    #: The time zone in which absolute times are shown.
    zone: str = "local"


def read(connection: ASGIConnection[Any, Any, Any, Any]) -> Chosen:
    theme, _, zone = connection.cookies.get(NAME, "").partition(".")
    return _checked(theme, zone)


def _checked(theme: str, zone: str) -> Chosen:
    usual = Chosen()
    return Chosen(theme if theme in THEMES else usual.theme, zone if zone in ZONES else usual.zone)


@post("/preferences")
async def choose(request: Request[Any, Any, Any]) -> Response[Any]:
    form = addresses.fields(await request.form())
    now = read(request)
    chosen = _checked(form.get("theme", now.theme), form.get("zone", now.zone))
    kept = cookie.preference(request, NAME, ".".join(chosen), max_age_s=MAX_AGE_S)
    return Redirect(addresses.local(form.get("next")), status_code=303, cookies=[kept])
