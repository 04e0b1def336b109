"""Identifies the caller of each console page by the session cookie, and checks the caller's rights
and rate limit. The console accepts no other credentials.
"""

from typing import Any, cast

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from services.api.console import cookie
from services.api.http.errors import NotSignedIn
from services.api.identity.callers import Callers, Credential
from services.api.identity.rate_limits import RateLimits
from services.api.identity.rights import Rights
from services.api.live.viewer import Viewer


class HasCookie:
    """Middleware of the console's pages, which admits or refuses each request. For the API,
    `auth.SignedIn` does the same.
    """

    def __init__(self, app: ASGIApp, callers: Callers, limits: RateLimits, rights: Rights) -> None:
        self._app = app
        self._callers = callers
        self._limits = limits
        self._rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the caller, and check its rate limit and rights. Raises NotSignedIn,
        TooManyRequests, RoleForbids or ServerUnavailable.
        """
        asked = cast("HTTPScope", scope)
        if asked["method"] != "OPTIONS":
            await self._admit(asked)
        await self._app(scope, receive, send)

    async def _admit(self, scope: HTTPScope) -> None:
        connection = ASGIConnection[Any, Any, Any, Any](scope)
        try:
            token = cookie.read(connection)
            if token is None:
                raise NotSignedIn("Sign in first: the request has no session cookie.")
            held = await self._callers.holds(token)
        except NotSignedIn:
            await self._limits.count_address(connection)
            raise
        await self._limits.count_user(held.account.id)
        scope["user"], scope["auth"] = held.account, Credential(session=held.session)
        scope["state"]["ends_at"] = held.ends_at
        self._rights.enforce(scope)


def viewer(request: Request[Any, Any, Any]) -> Viewer:
    """Return the viewer for an event stream that a console page opens. The stream ends when the
    console session ends.
    """
    ends_at = request.scope["state"]["ends_at"]
    return Viewer(request.user.id, request.user.role, request.auth.session, None, ends_at.timestamp())
