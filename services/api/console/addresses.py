"""Builds and checks addresses of console pages, including those to which a submitted form
redirects.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from litestar import Request

from services.api.http.schemas import MAX_REASON, Reason
from shared.errors import FieldProblem, InvalidFields

HOME = "/console"


def of(request: Request[Any, Any, Any]) -> str:
    """The path and the query string of a request, as one string."""
    return with_query(request.url.path, request.scope["query_string"].decode("latin-1"))


def with_query(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def changed(path: str, given: Iterable[tuple[str, str]], **changes: str | None) -> str:
    """Return the address with some parameters of its query string replaced.

    A new value replaces all values of its parameter. None removes the parameter.
    """
    kept = [(name, value) for name, value in given if name not in changes]
    kept += [(name, value) for name, value in changes.items() if value is not None]
    return with_query(path, urlencode(kept, quote_via=quote))


def local(path: str | None, otherwise: str = HOME) -> str:
    """Return the path if it belongs to the console, otherwise `otherwise`, so that no redirect
    leads a user to another site.
    """
    given = path or ""
    is_ours = given == HOME or given.startswith((f"{HOME}/", f"{HOME}?"))
    return given if is_ours and "\\" not in given and given.isprintable() else otherwise


def came_from(request: Request[Any, Any, Any]) -> str | None:
    """The console page from which a form was sent, or None if it is unknown."""
    try:
        given = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return None
    if given.netloc != request.headers.get("host"):
        return None
    return local(with_query(given.path, given.query), "") or None


def reason(form: Mapping[str, str]) -> str | None:
    """Read the form field `reason` and check it as the API does. Returns None if it is empty.
    Raises InvalidFields.
    """
    text = form.get("reason", "").strip()
    try:
        return msgspec.convert(text, Reason) if text else None
    except msgspec.ValidationError:
        rule = f"must be one line of {MAX_REASON} characters at most, without control characters"
        raise InvalidFields([FieldProblem("reason", rule)]) from None


def fields(form: Mapping[str, Any]) -> dict[str, str]:
    """Return the text fields of a form. If a field was sent several times, its last value counts."""
    return {name: value for name, value in form.items() if isinstance(value, str)}
