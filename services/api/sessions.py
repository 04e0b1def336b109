"""Sessions: opaque refresh tokens, of which only the hash is stored."""

import hashlib
import secrets
from datetime import timedelta

from services.api.auth import AccessTokens
from services.api.errors import NotSignedIn
from services.api.schemas.accounts import Tokens
from shared.ledger import engine

#: values: user, token_hash, life in seconds.
_OPEN = """
    INSERT INTO refresh_token ("user", token_hash, expires_at)
    VALUES ({}, {}, now() + make_interval(secs => {}))
"""


#: The old token is spent and the new one stored in one statement.
#: values: old hash, new hash, life in seconds.
_ROTATE = """
    WITH spent AS (
        UPDATE refresh_token AS t SET revoked_at = now() FROM account AS a
        WHERE t.token_hash = {} AND t.revoked_at IS NULL AND t.expires_at > now()
          AND a.id = t."user" AND a.is_active
        RETURNING t."user"
    )
    INSERT INTO refresh_token ("user", token_hash, expires_at)
    SELECT "user", {}, now() + make_interval(secs => {}) FROM spent
    RETURNING "user" AS user_id
"""

#: A spent token that comes back was stolen, by whoever used it first or uses it now (RFC 9700, 4.14.2).
#: values: hash.
_REVOKE_ALL = """
    UPDATE refresh_token SET revoked_at = now()
    WHERE revoked_at IS NULL
      AND "user" = (SELECT "user" FROM refresh_token WHERE token_hash = {} AND revoked_at IS NOT NULL)
"""


class Sessions:
    """Opens sessions and renews them."""

    def __init__(self, access: AccessTokens, refresh_life: timedelta) -> None:
        self._access = access
        self._refresh_life_s = refresh_life.total_seconds()

    async def open(self, account_id: int) -> Tokens:
        refresh_token = secrets.token_urlsafe(32)
        await engine.run(_OPEN, account_id, _hash(refresh_token), self._refresh_life_s)
        return self._tokens(account_id, refresh_token)

    async def rotate(self, refresh_token: str) -> Tokens:
        """Spend a refresh token for new tokens. Raises NotSignedIn."""
        following = secrets.token_urlsafe(32)
        rows = await engine.run(_ROTATE, _hash(refresh_token), _hash(following), self._refresh_life_s)
        if not rows:
            await engine.run(_REVOKE_ALL, _hash(refresh_token))
            raise NotSignedIn("The refresh token is unknown, spent or expired. Sign in again.")
        return self._tokens(rows[0]["user_id"], following)

    def _tokens(self, account_id: int, refresh_token: str) -> Tokens:
        return Tokens(
            access_token=self._access.make(account_id),
            refresh_token=refresh_token,
            expires_in=int(self._access.life.total_seconds()),
        )


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()
