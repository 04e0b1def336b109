"""Access tokens (JWT): each names an account and the session that it belongs to."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import jwt

from services.api.http.errors import NotSignedIn

_ALGORITHM = "HS256"
_CLAIMS = ["sub", "sid", "exp"]
#: Upper bound for the tokens that one process knows to be genuine; each takes half a kilobyte.
MAX_KNOWN: Final = 5_000


class Named(NamedTuple):
    """What an access token names."""

    account: int
    session: UUID


class _Genuine(NamedTuple):
    """A token that this system has signed."""

    named: Named
    #: Seconds of the epoch.
    ends_at: float


class AccessTokens:
    """Makes and checks access tokens. A signature is checked once."""

    def __init__(self, secret_key: str, life: timedelta) -> None:
        self._secret_key = secret_key
        self.life = life
        #: In the order in which they were checked.
        self._genuine: dict[str, _Genuine] = {}

    def make(self, account_id: int, session_id: UUID) -> str:
        now = datetime.now(UTC)
        claims = {"sub": str(account_id), "sid": session_id.hex, "iat": now, "exp": now + self.life}
        return jwt.encode(claims, self._secret_key, _ALGORITHM)

    def read(self, token: str) -> Named:
        """Raises NotSignedIn. Whether the session is still open, only the database knows."""
        found = self._genuine.get(token) or self._verified(token)
        if time.time() >= found.ends_at:
            self._genuine.pop(token, None)
            raise NotSignedIn("The access token has expired. Get a new one from POST /api/v1/auth/refresh.")
        return found.named

    def _verified(self, token: str) -> _Genuine:
        """Check the signature, and remember the token until it expires."""
        try:
            claims = jwt.decode(
                token, self._secret_key, [_ALGORITHM], options={"require": _CLAIMS, "verify_exp": False}
            )
            found = _Genuine(Named(int(claims["sub"]), UUID(claims["sid"])), float(claims["exp"]))
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError):
            raise NotSignedIn(
                "The access token is not valid. Get one from POST /api/v1/auth/refresh or "
                "POST /api/v1/auth/login."
            ) from None
        if len(self._genuine) >= MAX_KNOWN:
            del self._genuine[next(iter(self._genuine))]
        self._genuine[token] = found
        return found


def expiry(token: str) -> float:
    """When a token that was checked before ends, in seconds since 1970."""
    return float(jwt.decode(token, options={"verify_signature": False})["exp"])
