"""Checks passwords at sign-in and before a change of the password."""

import asyncio
from typing import Any
from weakref import WeakValueDictionary

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.per_minute import PerMinute
from services.api.audit.trail import Target
from services.api.identity import accounts
from services.api.identity.lockout import Attempt
from services.api.identity.passwords import Passwords
from services.api.identity.sign_in_refusals import LoginLocked
from shared.errors import InvalidFields
from shared.ledger.database import Database
from shared.ledger.statement import Statement

_FIND = Statement("""
    SELECT id, password_hash,
           EXISTS (SELECT FROM session AS s WHERE s."user" = a.id AND s.network = :network) AS is_known
    FROM account AS a WHERE email = :address AND is_active
""")

#: Replaces the stored hash of a password, unless the password was changed in the meantime.
_REHASH = Statement("""
    UPDATE account SET password_hash = :made WHERE id = :id AND password_hash = :stored
""")


class Logins:
    """Checks passwords, one at a time for each address and network."""

    def __init__(self, database: Database, passwords: Passwords, per_minute: PerMinute) -> None:
        self._database = database
        self._passwords = passwords
        self._per_minute = per_minute
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def authenticate(self, email: str, password: str, actor: Actor) -> int | None:
        """Check a sign-in, and return the id of the active account with these credentials.

        Returns None if the credentials are wrong. The caller must hold a place in the hashing
        queue. A sign-in with an unknown address takes the same time and is counted the same way.
        Raises LoginLocked or ServerUnavailable.
        """
        address = _normalised(email)
        row = None if address is None else await self._find(address, actor.network)
        account = row["id"] if row else None
        is_known = row is not None and row["is_known"]
        attempt = Attempt(self._database, address or email, actor.network, is_known=is_known)
        turn = self._turns.setdefault(attempt.key, asyncio.Lock())
        # Passwords for one address and network are checked one at a time, so that simultaneous
        # sign-ins with the right password do not count as failures for each other.
        async with turn:
            await self._begin(attempt, account, actor)
            fits = await self._passwords.fits(password, row["password_hash"] if row else None)
            if not fits or row is None:
                await self._fail(attempt, account, actor)
                return None
            await attempt.succeeded()
        await self._rehash(row, password)
        return int(row["id"])

    async def _begin(self, attempt: Attempt, account: int | None, actor: Actor) -> None:
        """Count an attempt to sign in. Raises ServerUnavailable, or LoginLocked, which is recorded
        in the audit log once a minute per account and network.
        """
        try:
            await attempt.begin()
        except LoginLocked:
            if self._per_minute.is_new(Action.SIGN_IN_LOCKED, account, actor.network):
                async with self._database.short_transaction():
                    await self._record(Action.SIGN_IN_LOCKED, account, actor)
            raise

    async def _fail(self, attempt: Attempt, account: int | None, actor: Actor) -> None:
        """Record a wrong password in the audit log. Wrong passwords for existing accounts are all
        recorded; those for unknown addresses only once a minute per network.
        """
        async with self._database.short_transaction():
            await attempt.failed()
            if account is not None or self._per_minute.is_new(Action.SIGN_IN_FAILED, actor.network):
                await self._record(Action.SIGN_IN_FAILED, account, actor)

    async def _record(self, action: Action, account: int | None, actor: Actor) -> None:
        target = None if account is None else Target("account", account)
        await trail.record(self._database, actor, action, target)

    async def _find(self, address: str, network: str) -> dict[str, Any] | None:
        rows = await self._database.run(_FIND, address=address, network=network)
        return rows[0] if rows else None

    async def _rehash(self, row: dict[str, Any], password: str) -> None:
        """Hash the password again if its stored hash has outdated parameters. This is only possible
        now, because only the sign-in knows the password.
        """
        if self._passwords.is_outdated(row["password_hash"]):
            made = await self._passwords.hash(password)
            await self._database.run(_REHASH, id=row["id"], stored=row["password_hash"], made=made)


def _normalised(email: str) -> str | None:
    try:
        return accounts.normalised(email)
    except InvalidFields:
        return None
