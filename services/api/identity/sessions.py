"""Sessions, which a login opens and refresh tokens keep open.

Only the hash of a refresh token is stored. Each renewal exchanges a token for the next one. If a
token that was already exchanged is used again, it has been stolen, so its session ends (RFC 9700,
4.14.2). The user's other sessions stay open. The access tokens of the ended session stop working
too, because each request is checked against its session; see callers.py.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.http.errors import NotSignedIn
from services.api.identity import accounts
from services.api.identity.access_tokens import AccessTokens, Named
from services.api.identity.account_schemas import Account, Tokens
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Opens a session, and deletes the user's sessions that can no longer be renewed.
_OPEN = Statement("""
    WITH over AS (
        DELETE FROM session AS s WHERE s."user" = :user
        AND NOT EXISTS (SELECT FROM refresh_token AS t WHERE t.session = s.id AND t.expires_at > now())
    ), opened AS (
        INSERT INTO session ("user", network) VALUES (:user, :network) RETURNING id
    )
    INSERT INTO refresh_token (session, token_hash, expires_at)
    SELECT id, :token_hash, now() + make_interval(secs => least(:life_s::float8, :session_life_s)) FROM opened
    RETURNING session
""")

#: Exchanges a refresh token for a new one in one statement. The network of the latest renewal
#: counts as known in lockout.py.
_ROTATE = Statement("""
    WITH spent AS (
        UPDATE refresh_token AS t SET spent_at = now() FROM session AS s, account AS a
        WHERE t.token_hash = :old_hash AND t.spent_at IS NULL AND t.expires_at > now()
          AND s.id = t.session AND s.revoked_at IS NULL AND a.id = s."user" AND a.is_active
          AND s.created_at > now() - make_interval(secs => :session_life_s)
        RETURNING t.session, a.id AS user_id, s.created_at
    ), following AS (
        INSERT INTO refresh_token (session, token_hash, expires_at)
        SELECT session, :new_hash, least(now() + make_interval(secs => :life_s),
                                         created_at + make_interval(secs => :session_life_s)) FROM spent
    ), moved AS (
        UPDATE session AS s SET network = :network FROM spent
        WHERE s.id = spent.session AND s.network IS DISTINCT FROM :network
    )
    SELECT user_id, session FROM spent
""")

#: Ends the session of a refresh token that was already exchanged for another one.
_REVOKE_REUSED = Statement("""
    UPDATE session SET revoked_at = now()
    WHERE revoked_at IS NULL
      AND id = (SELECT session FROM refresh_token WHERE token_hash = :token_hash AND spent_at IS NOT NULL)
    RETURNING id, "user"
""")

#: Reads a session and its account. It is plain SQL, because a query built by Piccolo takes twice as
#: long.
_HOLDER = Statement("""
    SELECT a.id, a.email, a.full_name, a.is_active, a.role, a.created_at,
           a.verified_at IS NOT NULL AS verified,
           s.revoked_at IS NOT NULL OR s.created_at <= now() - make_interval(secs => :session_life_s) AS over
    FROM session AS s JOIN account AS a ON a.id = s."user" WHERE s.id = :session AND a.id = :account
""")

#: Ends the caller's session, and the session of the given refresh token even if the token was
#: already exchanged.
_CLOSE = Statement("""
    UPDATE session SET revoked_at = now()
    WHERE "user" = :user AND revoked_at IS NULL
      AND id IN (SELECT :session::uuid
                 UNION ALL SELECT session FROM refresh_token WHERE token_hash = :token_hash)
    RETURNING id
""")

_CLOSE_ALL = Statement("""
    UPDATE session SET revoked_at = now() WHERE "user" = :user AND revoked_at IS NULL RETURNING id
""")


class Sessions:
    """Opens and renews sessions, and finds the account to which an access token belongs."""

    def __init__(
        self, database: Database, access: AccessTokens, *, refresh_life: timedelta, life: timedelta
    ) -> None:
        """A session ends if it is not renewed for `refresh_life`, and after `life` in any case."""
        self._database = database
        self._access = access
        self._refresh_life_s = refresh_life.total_seconds()
        self.life_s = life.total_seconds()

    async def open(self, account_id: int, actor: Actor) -> Tokens:
        refresh_token = secrets.token_urlsafe(32)
        values = {"user": account_id, "network": actor.network, "token_hash": _hash(refresh_token)}
        async with self._database.short_transaction():
            (row,) = await self._run(_OPEN, **values, **self._lives())
            known = replace(actor, account=account_id, credential="session", credential_id=row["session"])
            await trail.record(self._database, known, Action.SIGNED_IN, Target("account", account_id))
        return self._tokens(account_id, row["session"], refresh_token)

    async def rotate(self, refresh_token: str, actor: Actor) -> Tokens:
        """Exchange a refresh token for new tokens. Raises NotSignedIn."""
        following = secrets.token_urlsafe(32)
        hashes = {"old_hash": _hash(refresh_token), "new_hash": _hash(following)}
        rows = await self._run(_ROTATE, network=actor.network, **hashes, **self._lives())
        if not rows:
            await self._revoke_reused(refresh_token, actor)
            raise NotSignedIn("The refresh token is unknown, spent or expired. Sign in again.")
        return self._tokens(rows[0]["user_id"], rows[0]["session"], following)

    async def holder(self, named: Named) -> Account:
        """Find the account of an open session, whether or not the account is active. Raises
        NotSignedIn.
        """
        rows = []
        if accounts.is_possible(named.account):
            rows = await self._run(
                _HOLDER, account=named.account, session=named.session, session_life_s=self.life_s
            )
        if not rows or rows[0]["over"]:
            raise NotSignedIn("This session has ended. Sign in again with POST /api/v1/auth/login.")
        return msgspec.convert(rows[0], Account)

    async def _revoke_reused(self, refresh_token: str, actor: Actor) -> None:
        async with self._database.short_transaction():
            for row in await self._run(_REVOKE_REUSED, token_hash=_hash(refresh_token)):
                target, after = Target("account", row["user"]), {"sessions": [row["id"]]}
                await trail.record(self._database, actor, Action.TOKEN_REUSED, target, after=after)

    async def _run(self, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        return await self._database.run(statement, **values)

    def _lives(self) -> dict[str, float]:
        return {"life_s": self._refresh_life_s, "session_life_s": self.life_s}

    def _tokens(self, account_id: int, session_id: UUID, refresh_token: str) -> Tokens:
        return Tokens(
            access_token=self._access.make(account_id, session_id),
            refresh_token=refresh_token,
            expires_in=int(self._access.life.total_seconds()),
        )


async def close(database: Database, actor: Actor, refresh_token: str) -> None:
    """End the caller's session, and the session of the given refresh token if it is the caller's."""
    session = actor.credential_id
    async with database.short_transaction():
        ended = await database.run(
            _CLOSE, user=actor.account, session=session, token_hash=_hash(refresh_token)
        )
        await _record_end(database, actor, Action.SIGNED_OUT, ended)


async def close_all(database: Database, actor: Actor) -> None:
    """End all sessions of the caller."""
    async with database.short_transaction():
        ended = await database.run(_CLOSE_ALL, user=actor.account)
        await _record_end(database, actor, Action.SIGNED_OUT_EVERYWHERE, ended)


async def end_all(database: Database, account_id: int) -> None:
    """End all sessions of an account, without a row in the audit log, because the caller records a
    larger action.
    """
    await database.run(_CLOSE_ALL, user=account_id)


async def _record_end(
    database: Database, actor: Actor, action: Action, ended: Sequence[Mapping[str, Any]]
) -> None:
    after = {"sessions": [row["id"] for row in ended]}
    await trail.record(database, actor, action, Target("account", actor.account), after=after)


def _hash(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()
