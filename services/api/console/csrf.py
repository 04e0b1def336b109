"""Checks that a form came from a page of the console.

The check uses the browser's headers and a token made from the session and the form. The browser
names the origin in Sec-Fetch-Site. Over plain HTTP it sends only Origin.
"""

import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Request
from litestar.datastructures import Headers

from services.api.console.refusals import NotFromHere
from services.api.identity.account_schemas import Account
from services.api.identity.callers import Credential

#: Name of the hidden form field that holds the CSRF token.
FIELD = "token"


class Tokens:
    """Creates and checks the CSRF tokens of the console's forms."""

    def __init__(self, secret_key: str) -> None:
        self._key = hashlib.sha256(f"console forms:{secret_key}".encode()).digest()

    def make(self, session: UUID, form: str) -> str:
        """Create the CSRF token for a session. `form` is the section of the console to which the
        form belongs, such as `tasks`.
        """
        message = f"{session.hex}:{form}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    async def check(self, request: Request[Account, Credential, Any]) -> None:
        """Check that a form came from the console before its handler runs. Requests that change
        nothing are not checked. Raises NotFromHere.
        """
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        check_origin(request.headers)
        given = (await request.form()).get(FIELD)
        if not isinstance(given, str) or not given:
            raise NotFromHere(f"the form lacks its hidden field {FIELD}.")
        session = request.auth.session
        assert session is not None
        if not hmac.compare_digest(given.encode(), self.make(session, section(request.url.path)).encode()):
            raise NotFromHere(f"the hidden field {FIELD} belongs to another session or form.")


def section(path: str) -> str:
    """Return the console section that a path belongs to: `tasks` for `/console/tasks/cancel`."""
    return path.split("/")[2]


def check_origin(headers: Headers) -> None:
    """Raise NotFromHere unless the browser's headers say that the form was sent by a page of this
    site.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        if site != "same-origin":
            raise NotFromHere(f"the header Sec-Fetch-Site is {site[:40]!r} and must be 'same-origin'.")
    elif origin is None:
        raise NotFromHere("the headers Sec-Fetch-Site and Origin are both missing.")
    elif _host(origin) != headers.get("host", "").lower():
        raise NotFromHere(f"the header Origin is {origin[:100]!r} and must be the address of this site.")


def _host(origin: str) -> str | None:
    """Return the host in a URL, or None if the text is not a URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
