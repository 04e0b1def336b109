"""Sessions of browsers, which are identified by a random token in a cookie.

Only the hash of the token is stored. The token does not rotate: if two pages loaded at the same
time, both would use up the same token, which looks like theft. Tokens are stored in the table of
the refresh tokens, but hashed with a different prefix, so that neither kind works in place of the
other.
"""

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.http.errors import NotSignedIn
from services.api.identity.account_schemas import Account
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Idle and total lifetime: a session ends after the first period without a request, and after the
#: second period in any case.
IDLE, LIFE = timedelta(hours=12), timedelta(days=14)
#: The time of a session's last request is written at most once within this period.
NOTE_EVERY = timedelta(minutes=15)
#: Maximum length of a session token in a cookie. A longer cookie cannot contain one of our tokens.
MAX_LENGTH = 100

#: Opens a session of a browser, and deletes the user's sessions that have ended.
_OPEN = Statement("""
    WITH over AS (
        DELETE FROM session AS s WHERE s."user" = :user
        AND NOT EXISTS (SELECT FROM refresh_token AS t WHERE t.session = s.id AND t.expires_at > now())
    ), opened AS (
        INSERT INTO session ("user", network) VALUES (:user, :network) RETURNING id
    )
    INSERT INTO refresh_token (session, token_hash, expires_at)
    SELECT id, :token_hash, now() + make_interval(secs => :idle_s) FROM opened
    RETURNING session
""")

_HOLDER = Statement("""
    SELECT a.id, a.email, a.full_name, a.is_active, a.role, a.created_at,
           a.verified_at IS NOT NULL AS verified, s.id AS session,
           least(t.expires_at, s.created_at + make_interval(secs => :life_s)) AS ends_at,
           t.expires_at < now() + make_interval(secs => :idle_s::float8 - :note_s::float8) AS is_old
    FROM refresh_token AS t JOIN session AS s ON s.id = t.session JOIN account AS a ON a.id = s."user"
    WHERE t.token_hash = :token_hash AND t.spent_at IS NULL AND s.revoked_at IS NULL
      AND least(t.expires_at, s.created_at + make_interval(secs => :life_s)) > now()
""")

_NOTE = Statement("""
    UPDATE refresh_token SET expires_at = now() + make_interval(secs => :idle_s)
    WHERE token_hash = :token_hash AND expires_at > now()
""")

_CLOSE = Statement("""
    UPDATE session SET revoked_at = now() WHERE id = :session AND revoked_at IS NULL RETURNING id
""")


class Held(NamedTuple):
    """The session that a cookie identifies."""

    account: Account
    session: UUID
    #: Time at which the session ends if no further request arrives.
    ends_at: datetime


class CookieSessions:
    """Opens and closes sessions of browsers, and finds the account that belongs to a session
    cookie.
    """

    def __init__(self, database: Database, life: timedelta) -> None:
        """`life` is the maximum lifetime of every kind of session. Sessions of browsers end after
        `LIFE` at the latest.
        """
        self._database = database
        self._lives = {"life_s": min(life, LIFE).total_seconds(), "idle_s": IDLE.total_seconds()}

    async def open(self, account_id: int, actor: Actor) -> str:
        """Open a session for a browser, and return the token for its cookie."""
        token = secrets.token_urlsafe(32)
        values = {"user": account_id, "network": actor.network, "token_hash": _hash(token)}
        async with self._database.short_transaction():
            (row,) = await self._run(_OPEN, **values, idle_s=self._lives["idle_s"])
            known = replace(actor, account=account_id, credential="session", credential_id=row["session"])
            await trail.record(self._database, known, Action.SIGNED_IN, Target("account", account_id))
        return token

    async def holder(self, token: str) -> Held:
        """Find the account of an open session, whether or not the account is active. Raises
        NotSignedIn.
        """
        values = {"token_hash": _hash(token), "note_s": NOTE_EVERY.total_seconds()}
        rows = await self._run(_HOLDER, **values, **self._lives) if len(token) <= MAX_LENGTH else []
        if not rows:
            raise NotSignedIn("Your session has ended. Sign in again.")
        row = rows[0]
        if row["is_old"]:
            await self._run(_NOTE, token_hash=values["token_hash"], idle_s=self._lives["idle_s"])
        session, ends_at = UUID(int=row["session"].int), row["ends_at"]
        return Held(msgspec.convert(row, Account), session, ends_at)

    async def close(self, session: UUID, actor: Actor) -> None:
        """End one of the caller's browser sessions."""
        async with self._database.short_transaction():
            ended = await self._run(_CLOSE, session=session)
            after = {"sessions": [row["id"] for row in ended]}
            target = Target("account", actor.account)
            await trail.record(self._database, actor, Action.SIGNED_OUT, target, after=after)

    async def _run(self, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        return await self._database.run(statement, **values)


def _hash(token: str) -> bytes:
    return hashlib.sha256(f"cookie:{token}".encode()).digest()
