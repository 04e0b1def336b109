"""Saved views of the task list.

A view is a named filter. The browser keeps the views in one cookie for each account.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
from litestar import Request, Response, post

from services.api.console import addresses, cookie, notices, preferences
from services.api.console.task_filter import Given

PATH: Final = "/console/tasks"
MAX_NAME: Final = 40
#: Maximum size of the encoded views, enough for about 20. Browsers limit a cookie to 4,096 bytes,
#: including its name and attributes.
MAX_BYTES: Final = 3_500


class View(NamedTuple):
    name: str
    #: The query string of the saved list, without the page's cursor.
    query: str

    @property
    def address(self) -> str:
        return f"{PATH}?{self.query}"

    def shows(self, filters: Given) -> bool:
        """True if the given filters are those of this view, in any order."""
        return sorted(parse_qsl(self.query)) == sorted(filters)


def read(request: Request[Any, Any, Any]) -> list[View]:
    """Read the saved views from the cookie, in the order in which they were saved."""
    text = request.cookies.get(_cookie_name(request), "")
    try:
        document = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(document, type=list[View]) if document else []
    except (ValueError, msgspec.DecodeError):
        return []


@post("/tasks/views")
async def save(request: Request[Any, Any, Any]) -> Response[Any]:
    """Save the filters of the page that contained the form as a view. It replaces a view of the
    same name.
    """
    form = addresses.fields(await request.form())
    page, name = addresses.local(form.get("next"), PATH), form.get("name", "").strip()
    view = View(name, _query(page))
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        return notices.back(request, page, f"A view needs a name of 1 to {MAX_NAME} characters.", tone="bad")
    if not view.query:
        return notices.back(request, page, "A view needs a filter: set one, then save it.", tone="bad")
    views = [*_others(read(request), name), view]
    if len(_encoded(views)) > MAX_BYTES:
        text = "The browser has no room for one more view. Remove one that you do not need."
        return notices.back(request, page, text, tone="bad")
    return _keep(request, page, views, f"The view {name} is saved in this browser.")


@post("/tasks/views/remove")
async def remove(request: Request[Any, Any, Any]) -> Response[Any]:
    form = addresses.fields(await request.form())
    page, name = addresses.local(form.get("next"), PATH), form.get("name", "")
    return _keep(request, page, _others(read(request), name), f"The view {name[:MAX_NAME]} is removed.")


def _keep(request: Request[Any, Any, Any], page: str, views: Sequence[View], text: str) -> Response[Any]:
    answer = notices.back(request, page, text)
    kept = cookie.preference(
        request, _cookie_name(request), _encoded(views), max_age_s=preferences.MAX_AGE_S if views else 0
    )
    answer.cookies.append(kept)
    return answer


def _others(views: Sequence[View], name: str) -> list[View]:
    return [view for view in views if view.name != name]


def _query(page: str) -> str:
    pairs = parse_qsl(urlsplit(page).query)
    return urlencode([(name, value) for name, value in pairs if name != "cursor"], quote_via=quote)


def _encoded(views: Sequence[View]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(views)).rstrip(b"=").decode()


def _cookie_name(request: Request[Any, Any, Any]) -> str:
    """Name of the cookie. It contains the account's id, so that accounts that share a browser have
    separate views.
    """
    return f"often-views-{request.user.id}"
