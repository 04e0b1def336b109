"""Who calls: the access token (JWT) of a session, or an API key, checked for each request."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from services.api.http.errors import NotSignedIn
from services.api.identity import accounts, api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.rate_limits import RateLimits
from services.api.identity.rights import Scope

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
    """What was shown, beside whose it is."""

    #: None: a session, which is not limited to any.
    scopes: frozenset[Scope] | None = None


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
    """Finds out who calls; without an answer the request ends here."""

    def __init__(self, app: ASGIApp, tokens: AccessTokens, limits: RateLimits) -> None:
        super().__init__(app)
        self._tokens = tokens
        self._limits = limits

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Raises NotSignedIn, TooManyRequests or ServerUnavailable."""
        try:
            account, credential = await self._known(connection.headers.get("authorization", ""))
        except NotSignedIn:
            await self._limits.count_address(connection)
            raise
        await self._limits.count_user(account.id)
        return AuthenticationResult(account, credential)

    async def _known(self, header: str) -> tuple[Account, Credential]:
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
            account, scopes = await api_keys.authenticate(shown)
        else:
            account = await accounts.load(self._tokens.read(shown))
        if account is None or not account.is_active:
            raise NotSignedIn("This account is not active. Ask an administrator.")
        return account, Credential(scopes)
