"""Sessions: what a login opens, held by refresh tokens of which only the hash is stored.

Each renewal spends a token for the next one. A spent token that comes back was stolen, by whoever used it
first or uses it now, so it ends its session (RFC 9700, 4.14.2); the user's other sessions go on.
"""

import hashlib
import secrets
from datetime import timedelta

from services.api.http.errors import NotSignedIn
from services.api.identity.account_schemas import Tokens
from services.api.identity.auth import AccessTokens
from shared.ledger import engine

#: Sessions of the user that nobody can renew any more go with it.
#: values: user, user, token_hash, life in seconds.
_OPEN = """
    WITH over AS (
        DELETE FROM session AS s WHERE s."user" = {}
        AND NOT EXISTS (SELECT FROM refresh_token AS t WHERE t.session = s.id AND t.expires_at > now())
    ), opened AS (
        INSERT INTO session ("user") VALUES ({}) RETURNING id
    )
    INSERT INTO refresh_token (session, token_hash, expires_at)
    SELECT id, {}, now() + make_interval(secs => {}) FROM opened
"""

#: The old token is spent and the new one stored in one statement.
#: values: old hash, new hash, life in seconds.
_ROTATE = """
    WITH spent AS (
        UPDATE refresh_token AS t SET spent_at = now() FROM session AS s, account AS a
        WHERE t.token_hash = {} AND t.spent_at IS NULL AND t.expires_at > now()
          AND s.id = t.session AND s.revoked_at IS NULL AND a.id = s."user" AND a.is_active
        RETURNING t.session, a.id AS user_id
    ), following AS (
        INSERT INTO refresh_token (session, token_hash, expires_at)
        SELECT session, {}, now() + make_interval(secs => {}) FROM spent
    )
    SELECT user_id FROM spent
"""

#: values: hash of a spent token.
_REVOKE_REUSED = """
    UPDATE session SET revoked_at = now()
    WHERE revoked_at IS NULL
      AND id = (SELECT session FROM refresh_token WHERE token_hash = {} AND spent_at IS NOT NULL)
"""

#: values: user, hash of any of its tokens.
_CLOSE = """
    UPDATE session SET revoked_at = now()
    WHERE "user" = {} AND revoked_at IS NULL
      AND id = (SELECT session FROM refresh_token WHERE token_hash = {})
"""

#: values: user.
_CLOSE_ALL = """UPDATE session SET revoked_at = now() WHERE "user" = {} AND revoked_at IS NULL"""


class Sessions:
    """Opens sessions and renews them."""

    def __init__(self, access: AccessTokens, refresh_life: timedelta) -> None:
        self._access = access
        self._refresh_life_s = refresh_life.total_seconds()

    async def open(self, account_id: int) -> Tokens:
        refresh_token = secrets.token_urlsafe(32)
        await engine.run(_OPEN, account_id, account_id, _hash(refresh_token), self._refresh_life_s)
        return self._tokens(account_id, refresh_token)

    async def rotate(self, refresh_token: str) -> Tokens:
        """Spend a refresh token for new tokens. Raises NotSignedIn."""
        following = secrets.token_urlsafe(32)
        rows = await engine.run(_ROTATE, _hash(refresh_token), _hash(following), self._refresh_life_s)
        if not rows:
            await engine.run(_REVOKE_REUSED, _hash(refresh_token))
            raise NotSignedIn("The refresh token is unknown, spent or expired. Sign in again.")
        return self._tokens(rows[0]["user_id"], following)

    def _tokens(self, account_id: int, refresh_token: str) -> Tokens:
        return Tokens(
            access_token=self._access.make(account_id),
            refresh_token=refresh_token,
            expires_in=int(self._access.life.total_seconds()),
        )


async def close(account_id: int, refresh_token: str) -> None:
    """End the user's session that this token belongs to; if there is none, nothing is to be ended."""
    await engine.run(_CLOSE, account_id, _hash(refresh_token))


async def close_all(account_id: int) -> None:
    await engine.run(_CLOSE_ALL, account_id)


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()
