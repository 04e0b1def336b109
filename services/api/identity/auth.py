"""Identifies the caller of each request by a session's access token (JWT) or by an API key, and admits it."""

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

#: How the schema says what to send.
SECURITY = [{_SCHEME: list[str]()}]
COMPONENTS = Components(
    security_schemes={
        _SCHEME: SecurityScheme(
            type="http",
            scheme="Bearer",
            description="The access_token that POST /api/v1/auth/login answers, or an API key.",
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
    """The caller of a public route."""
    return Actor(network=network_of(request), request_id=request_ids.of(request.scope))


def actor(request: Asked) -> Actor:
    """The signed-in caller of a request."""
    credential = request.auth
    return Actor(
        account=request.user.id,
        credential="session" if credential.key is None else "key",
        credential_id=credential.session or credential.key,
        network=network_of(request),
        request_id=request_ids.of(request.scope),
    )


class SignedIn:
    """Middleware of routes that need credentials: who asks, may it ask again already, and may it ask this?

    No guards of Litestar, which copies a route's handler for each of them and each request.
    """

    def __init__(self, app: ASGIApp, callers: Callers, limits: RateLimits, rights: Rights) -> None:
        self._app = app
        self._callers = callers
        self._limits = limits
        self._rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises NotSignedIn, TooManyRequests, RoleForbids, ScopeMissing or ServerUnavailable."""
        asked = cast("HTTPScope", scope)
        if asked["method"] != "OPTIONS":  # lists the methods of a path; needs no rights
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


def admits(handler: BaseRouteHandler) -> bool:
    """True for a route behind `SignedIn`."""
    return any(
        isinstance(each, DefineMiddleware) and each.middleware is SignedIn
        for each in handler.resolve_middleware()
    )


def _authorization(scope: HTTPScope) -> str:
    """The value of the first header Authorization; empty without one."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")


def provided(callers: Callers) -> dict[str, Provide]:
    """What handlers behind the admission may ask for by name."""

    found: dict[str, Callable[[Asked], Any]] = {
        "actor": actor,
        "user": _user,
        "credential": _credential,
        "reach": _reach,
        "reader": _reader,
    }
    return {name: Provide(value, sync_to_thread=False) for name, value in found.items()}
