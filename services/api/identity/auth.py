"""Identifies the caller of each API request by an access token (JWT) or an API key, and checks the
caller's rights.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from services.api.audit.actor import Actor
from services.api.http import request_ids
from services.api.http.errors import NotSignedIn
from services.api.identity.account_schemas import Account
from services.api.identity.callers import Callers, Credential
from services.api.identity.rate_limits import RateLimits, network_of
from services.api.identity.rights import Reach, Reader, Rights

_SCHEME = "BearerToken"

#: The security requirement in the OpenAPI schema for routes that need credentials.
SECURITY = [{_SCHEME: list[str]()}]
COMPONENTS = Components(
    security_schemes={
        _SCHEME: SecurityScheme(
            type="http",
            scheme="Bearer",
            description="The access_token from POST /api/v1/auth/login, or an API key.",
        )
    }
)


Asked = Request[Account, Credential, State]


def _user(request: Asked) -> Account:
    return request.user


def _reach(request: Asked) -> Reach:
    reach: Reach = request.scope["state"]["reach"]
    return reach


def _reader(request: Asked) -> Reader:
    return Reader(request.user.id, request.user.role, _reach(request), partial(actor, request))


def _credential(request: Asked) -> Credential:
    return request.auth


def stranger(request: Request[Any, Any, Any]) -> Actor:
    """Return the audit log's description of a caller without credentials, who uses a public route."""
    return Actor(network=network_of(request), request_id=request_ids.of(request.scope))


def actor(request: Asked) -> Actor:
    """Return the audit log's description of the signed-in caller of a request."""
    credential = request.auth
    return Actor(
        account=request.user.id,
        credential="session" if credential.key is None else "key",
        credential_id=credential.session or credential.key,
        network=network_of(request),
        request_id=request_ids.of(request.scope),
    )


class SignedIn:
    """Middleware of routes that need credentials. It identifies the caller, then checks the
    caller's rate limit and rights.

    This is not a Litestar guard, because Litestar copies a route's handler for each guard and each
    request.
    """

    def __init__(self, app: ASGIApp, callers: Callers, limits: RateLimits, rights: Rights) -> None:
        self._app = app
        self._callers = callers
        self._limits = limits
        self._rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the caller and admit the request. Raises NotSignedIn, TooManyRequests,
        RoleForbids, ScopeMissing or ServerUnavailable.
        """
        asked = cast("HTTPScope", scope)
        # An OPTIONS request only lists the methods of a path, so it needs no rights.
        if asked["method"] != "OPTIONS":
            await self._admit(asked)
        await self._app(scope, receive, send)

    async def _admit(self, scope: HTTPScope) -> None:
        try:
            caller = await self._callers.known(_authorization(scope))
        except NotSignedIn:
            await self._limits.count_address(ASGIConnection(scope))
            raise
        await self._limits.count_user(caller.account.id)
        scope["user"], scope["auth"] = caller
        self._rights.enforce(scope)


def admits(handler: BaseRouteHandler, by: Any = SignedIn) -> bool:
    """True if this middleware protects the route."""
    return any(
        isinstance(each, DefineMiddleware) and each.middleware is by for each in handler.resolve_middleware()
    )


def _authorization(scope: HTTPScope) -> str:
    """Return the value of the first Authorization header, or an empty text if there is none."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")


def provided(callers: Callers) -> dict[str, Provide]:
    """The arguments that Litestar injects by name into handlers of signed-in routes."""

    found: dict[str, Callable[[Asked], Any]] = {
        "actor": actor,
        "user": _user,
        "credential": _credential,
        "reach": _reach,
        "reader": _reader,
    }
    return {name: Provide(value, sync_to_thread=False) for name, value in found.items()}
