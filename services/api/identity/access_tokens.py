"""Access tokens (JWT): each names an account and the session that it belongs to."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import jwt

from services.api.http.errors import NotSignedIn

_ALGORITHM = "HS256"
_CLAIMS = ["sub", "sid", "exp"]


class Named(NamedTuple):
    """What an access token names."""

    account: int
    session: UUID


class AccessTokens:
    """Makes and checks access tokens."""

    def __init__(self, secret_key: str, life: timedelta) -> None:
        self._secret_key = secret_key
        self.life = life

    def make(self, account_id: int, session_id: UUID) -> str:
        now = datetime.now(UTC)
        claims = {"sub": str(account_id), "sid": session_id.hex, "iat": now, "exp": now + self.life}
        return jwt.encode(claims, self._secret_key, _ALGORITHM)

    def read(self, token: str) -> Named:
        """Raises NotSignedIn. Whether the session is still open, only the database knows."""
        try:
            claims = jwt.decode(token, self._secret_key, [_ALGORITHM], options={"require": _CLAIMS})
            return Named(int(claims["sub"]), UUID(claims["sid"]))
        except jwt.ExpiredSignatureError:
            raise NotSignedIn(
                "The access token has expired. Get a new one from POST /api/v1/auth/refresh."
            ) from None
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError):
            raise NotSignedIn(
                "The access token is not valid. Get one from POST /api/v1/auth/refresh or "
                "POST /api/v1/auth/login."
            ) from None


def expiry(token: str) -> float:
    """When a token that was checked before ends, in seconds since 1970."""
    return float(jwt.decode(token, options={"verify_signature": False})["exp"])
