"""Identifies the caller of each request by a session's access token (JWT) or by an API key."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import jwt
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from services.api.http.errors import NotSignedIn
from services.api.identity import accounts, api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.rate_limits import RateLimits
from services.api.identity.rights import Reach, Reader, Scope
from shared.ledger.database import Database

_ALGORITHM = "HS256"
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


Asked = Request[Account, Credential, State]


def _user(request: Asked) -> Account:
    return request.user


def _reach(request: Asked) -> Reach:
    reach: Reach = request.state.reach
    return reach


def _reader(request: Asked) -> Reader:
    return Reader(request.user.id, request.user.role, request.state.reach)


#: What handlers behind the authentication may ask for by name.
CALLER = {
    "user": Provide(_user, sync_to_thread=False),
    "reach": Provide(_reach, sync_to_thread=False),
    "reader": Provide(_reader, sync_to_thread=False),
}


class AccessTokens:
    """Makes and checks access tokens."""

    def __init__(self, secret_key: str, life: timedelta) -> None:
        self._secret_key = secret_key
        self.life = life

    def make(self, account_id: int) -> str:
        now = datetime.now(UTC)
        claims = {"sub": str(account_id), "iat": now, "exp": now + self.life}
        return jwt.encode(claims, self._secret_key, _ALGORITHM)

    def read(self, token: str) -> int:
        """The account's id. Raises NotSignedIn."""
        try:
            return int(
                jwt.decode(token, self._secret_key, [_ALGORITHM], options={"require": ["sub", "exp"]})["sub"]
            )
        except jwt.ExpiredSignatureError:
            raise NotSignedIn(
                "The access token has expired. Get a new one from POST /api/v1/auth/refresh."
            ) from None
        except (jwt.InvalidTokenError, ValueError):
            raise NotSignedIn(
                "The access token is not valid. Get one from POST /api/v1/auth/login."
            ) from None


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

    def __init__(self, database: Database, tokens: AccessTokens) -> None:
        self._database = database
        self._tokens = tokens

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
        # The account is read for each request, so that a deactivated one is out at once.
        account: Account | None
        scopes: frozenset[Scope] | None = None
        if shown.startswith(api_keys.PREFIX):
            account, scopes = await api_keys.authenticate(self._database, shown)
        else:
            account = await accounts.load(self._database, self._tokens.read(shown))
        if account is None or not account.is_active:
            raise NotSignedIn("This account is not active. Ask an administrator.")
        return account, Credential(scopes)
