"""Identifies the caller of each request by a session's access token (JWT) or by an API key, and admits it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, HTTPScope, Receive, Send
from litestar.types import Scope as AnyScope

from services.api.audit.actor import Actor
from services.api.http import request_ids
from services.api.http.errors import NotSignedIn
from services.api.identity import api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.rate_limits import RateLimits, network_of
from services.api.identity.rights import Reach, Reader, Rights, Scope
from services.api.identity.sessions import Sessions
from shared.ledger.database import Database
from shared.ledger.statement import Statement

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


@dataclass(frozen=True, slots=True)
class Credential:
    """What the caller may do with the credentials that it sent."""

    #: None: a session, which may do all that its account may do.
    scopes: frozenset[Scope] | None = None
    #: The session, or the API key, that the caller has shown.
    session: UUID | None = None
    key: UUID | None = None


#: Says whether the caller of a request may still act as it did when the request began.
Stays = Callable[[], Awaitable[bool]]

#: Whether the caller of a long answer is still signed in. `session` or `key` is null.
_STAYS = Statement("""
    SELECT 1 FROM account AS a WHERE a.id = :account AND a.is_active AND a.role = :role AND (
        EXISTS (SELECT FROM session WHERE id = :session AND revoked_at IS NULL
                AND created_at > now() - make_interval(secs => :session_life_s))
        OR EXISTS (SELECT FROM api_key WHERE id = :key AND revoked_at IS NULL AND expires_at > now()))
""")

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

    def __init__(self, app: ASGIApp, callers: "Callers", limits: RateLimits, rights: Rights) -> None:
        self._app = app
        self._callers = callers
        self._limits = limits
        self._rights = rights

    async def __call__(self, scope: AnyScope, receive: Receive, send: Send) -> None:
        """Raises NotSignedIn, TooManyRequests, RoleForbids, ScopeMissing or ServerUnavailable."""
        asked = cast("HTTPScope", scope)
        if asked["method"] != "OPTIONS":  # lists the methods of a path; needs no rights
            await self._admit(asked)
        await self._app(scope, receive, send)

    async def _admit(self, scope: HTTPScope) -> None:
        try:
            account, credential = await self._callers.known(_authorization(scope))
        except NotSignedIn:
            await self._limits.count_address(ASGIConnection(scope))
            raise
        await self._limits.count_user(account.id)
        scope["user"], scope["auth"] = account, credential
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


class Callers:
    """Finds the account and the rights behind a request's credentials."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    def __deepcopy__(self, _: object) -> Self:
        """Litestar copies middleware when it takes in a router; the pool of connections must stay one."""
        return self

    async def known(self, header: str) -> tuple[Account, Credential]:
        """The caller by the value of the Authorization header. Raises NotSignedIn or ServerUnavailable."""
        scheme, _, shown = header.partition(" ")
        shown = shown.strip()
        if scheme.lower() != "bearer" or not shown:
            raise NotSignedIn(
                "Get an access token from POST /api/v1/auth/login and send it as `Authorization: Bearer …`."
            )
        # Both are read for each request, so that a deactivated account and an ended session are out at once.
        if shown.startswith(api_keys.PREFIX):
            account, key, scopes = await api_keys.authenticate(self._database, shown)
            credential = Credential(scopes, key=key)
        else:
            account, session = await self._sessions.holder(shown)
            credential = Credential(session=session)
        if not account.is_active:
            raise NotSignedIn("This account is not active. Ask an administrator.")
        return account, credential

    def provided(self) -> dict[str, Provide]:
        """What handlers behind the authentication may ask for by name."""

        def stays(request: Asked) -> Stays:
            return partial(self._stays, request.user, request.auth)

        provided: dict[str, Callable[[Asked], Any]] = {
            "actor": actor,
            "user": _user,
            "credential": _credential,
            "reach": _reach,
            "reader": _reader,
            "stays": stays,
        }
        return {name: Provide(value, sync_to_thread=False) for name, value in provided.items()}

    async def _stays(self, account: Account, credential: Credential) -> bool:
        """Raises ServerUnavailable."""
        found = await self._database.run(
            _STAYS,
            account=account.id,
            role=account.role,
            session=credential.session,
            key=credential.key,
            session_life_s=self._sessions.life_s,
        )
        return bool(found)
