"""Adds the headers that every answer has, whichever component creates the answer."""

from collections.abc import Iterable

from litestar.types import HTTPScope

from services.api.http import allowed_methods, request_ids, security_headers

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = request_ids.HEADER.lower().encode()


def complete(scope: HTTPScope, given: Iterable[tuple[bytes, bytes]], *, closes: bool) -> Headers:
    """Add the common headers that an answer lacks. Header names are in lower case, as Litestar
    writes them.

    `closes` is True if the connection will be closed after this answer.
    """
    headers = list(given)
    names = {name for name, _ in headers}
    headers += security_headers.missing(names, scope["path"])
    headers.append((_REQUEST_ID, request_ids.of(scope).encode()))
    if b"allow" in names:
        headers = allowed_methods.corrected(headers, scope)
    if closes:
        headers = [header for header in headers if header[0] != b"connection"]
        headers.append((b"connection", b"close"))
    return headers
