"""Identifies the caller of each request by a session's access token (JWT) or by an API key."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from services.api.audit.actor import Actor
from services.api.http import request_ids
from services.api.http.errors import NotSignedIn
from services.api.identity import api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.rate_limits import RateLimits, network_of
from services.api.identity.rights import Reach, Reader, Scope
from services.api.identity.sessions import Sessions
from shared.ledger.database import Database

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


Asked = Request[Account, Credential, State]


def _user(request: Asked) -> Account:
    return request.user


def _reach(request: Asked) -> Reach:
    reach: Reach = request.state.reach
    return reach


def _reader(request: Asked) -> Reader:
    return Reader(request.user.id, request.user.role, request.state.reach, partial(actor, request))


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


class Authentication(AbstractAuthenticationMiddleware):
    """Ends the request when the caller cannot be identified."""

    def __init__(self, app: ASGIApp, callers: "Callers", limits: RateLimits) -> None:
        super().__init__(app)
        self._callers = callers
        self._limits = limits

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Raises NotSignedIn, TooManyRequests or ServerUnavailable."""
        try:
            account, credential = await self._callers.known(connection.headers.get("authorization", ""))
        except NotSignedIn:
            await self._limits.count_address(connection)
            raise
        await self._limits.count_user(account.id)
        return AuthenticationResult(account, credential)


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

        provided: dict[str, Callable[[Asked], Any]] = {
            "actor": actor,
            "user": _user,
            "credential": _credential,
            "reach": _reach,
            "reader": _reader,
        }
        return {name: Provide(value, sync_to_thread=False) for name, value in provided.items()}
