"""Creates and checks access tokens (JWT). Each token names an account and the session to which it
belongs.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import jwt

from services.api.http.errors import NotSignedIn

_ALGORITHM = "HS256"
_CLAIMS = ["sub", "sid", "exp"]
#: Maximum number of valid tokens that one process remembers. Each takes half a kilobyte.
MAX_KNOWN: Final = 5_000


class Named(NamedTuple):
    """The contents of an access token: the account and its session."""

    account: int
    session: UUID
    #: Time at which the token expires, in seconds since 1970.
    ends_at: float


class AccessTokens:
    """Creates and checks access tokens. The signature of each token is checked only once by a
    process.
    """

    def __init__(self, secret_key: str, life: timedelta) -> None:
        self._secret_key = secret_key
        self.life = life
        #: Tokens whose signature was already checked, in the order of the checks.
        self._genuine: dict[str, Named] = {}

    def make(self, account_id: int, session_id: UUID) -> str:
        now = datetime.now(UTC)
        claims = {"sub": str(account_id), "sid": session_id.hex, "iat": now, "exp": now + self.life}
        return jwt.encode(claims, self._secret_key, _ALGORITHM)

    def read(self, token: str) -> Named:
        """Read an access token. Raises NotSignedIn.

        The token does not show whether its session is still open; only the database does.
        """
        found = self._genuine.get(token) or self._verified(token)
        if time.time() >= found.ends_at:
            self._genuine.pop(token, None)
            raise NotSignedIn("The access token has expired. Get a new one from POST /api/v1/auth/refresh.")
        return found

    def _verified(self, token: str) -> Named:
        """Check the signature of a token, and remember the token until it expires."""
        try:
            claims = jwt.decode(
                token, self._secret_key, [_ALGORITHM], options={"require": _CLAIMS, "verify_exp": False}
            )
            found = Named(int(claims["sub"]), UUID(claims["sid"]), float(claims["exp"]))
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError):
            raise NotSignedIn(
                "The access token is not valid. Get one from POST /api/v1/auth/refresh or "
                "POST /api/v1/auth/login."
            ) from None
        if len(self._genuine) >= MAX_KNOWN:
            del self._genuine[next(iter(self._genuine))]
        self._genuine[token] = found
        return found
