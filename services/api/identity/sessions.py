"""Sessions: what a login opens, held by refresh tokens of which only the hash is stored.

Each renewal spends a token for the next one. A spent token that is used again has been stolen, so its session
ends (RFC 9700, 4.14.2). The user's other sessions go on.
"""

import hashlib
import secrets
from datetime import timedelta

from services.api.http.errors import NotSignedIn
from services.api.identity.account_schemas import Tokens
from services.api.identity.auth import AccessTokens
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Also removes the user's sessions that cannot be renewed any more.
_OPEN = Statement("""
    WITH over AS (
        DELETE FROM session AS s WHERE s."user" = :user
        AND NOT EXISTS (SELECT FROM refresh_token AS t WHERE t.session = s.id AND t.expires_at > now())
    ), opened AS (
        INSERT INTO session ("user") VALUES (:user) RETURNING id
    )
    INSERT INTO refresh_token (session, token_hash, expires_at)
    SELECT id, :token_hash, now() + make_interval(secs => :life_s) FROM opened
""")

#: Spends the old token and stores the new one in one statement.
_ROTATE = Statement("""
    WITH spent AS (
        UPDATE refresh_token AS t SET spent_at = now() FROM session AS s, account AS a
        WHERE t.token_hash = :old_hash AND t.spent_at IS NULL AND t.expires_at > now()
          AND s.id = t.session AND s.revoked_at IS NULL AND a.id = s."user" AND a.is_active
        RETURNING t.session, a.id AS user_id
    ), following AS (
        INSERT INTO refresh_token (session, token_hash, expires_at)
        SELECT session, :new_hash, now() + make_interval(secs => :life_s) FROM spent
    )
    SELECT user_id FROM spent
""")

#: Ends the session of a token that was spent before.
_REVOKE_REUSED = Statement("""
    UPDATE session SET revoked_at = now()
    WHERE revoked_at IS NULL
      AND id = (SELECT session FROM refresh_token WHERE token_hash = :token_hash AND spent_at IS NOT NULL)
""")

#: Ends the session that a token belongs to, spent or not.
_CLOSE = Statement("""
    UPDATE session SET revoked_at = now()
    WHERE "user" = :user AND revoked_at IS NULL
      AND id = (SELECT session FROM refresh_token WHERE token_hash = :token_hash)
""")

_CLOSE_ALL = Statement(
    """UPDATE session SET revoked_at = now() WHERE "user" = :user AND revoked_at IS NULL"""
)


class Sessions:
    """Opens sessions and renews them."""

    def __init__(self, database: Database, access: AccessTokens, refresh_life: timedelta) -> None:
        self._database = database
        self._access = access
        self._refresh_life_s = refresh_life.total_seconds()

    async def open(self, account_id: int) -> Tokens:
        refresh_token = secrets.token_urlsafe(32)
        values = {"token_hash": _hash(refresh_token), "life_s": self._refresh_life_s}
        await self._database.run(_OPEN, user=account_id, **values)
        return self._tokens(account_id, refresh_token)

    async def rotate(self, refresh_token: str) -> Tokens:
        """Spend a refresh token for new tokens. Raises NotSignedIn."""
        following = secrets.token_urlsafe(32)
        hashes = {"old_hash": _hash(refresh_token), "new_hash": _hash(following)}
        rows = await self._database.run(_ROTATE, **hashes, life_s=self._refresh_life_s)
        if not rows:
            await self._database.run(_REVOKE_REUSED, token_hash=_hash(refresh_token))
            raise NotSignedIn("The refresh token is unknown, spent or expired. Sign in again.")
        return self._tokens(rows[0]["user_id"], following)

    def _tokens(self, account_id: int, refresh_token: str) -> Tokens:
        return Tokens(
            access_token=self._access.make(account_id),
            refresh_token=refresh_token,
            expires_in=int(self._access.life.total_seconds()),
        )


async def close(database: Database, account_id: int, refresh_token: str) -> None:
    """End the user's session that this token belongs to, if there is one."""
    await database.run(_CLOSE, user=account_id, token_hash=_hash(refresh_token))


async def close_all(database: Database, account_id: int) -> None:
    await database.run(_CLOSE_ALL, user=account_id)


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()
