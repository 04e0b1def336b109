"""Checks passwords, at sign-in and before a change of the password."""

import asyncio
from typing import Any
from weakref import WeakValueDictionary

from services.api.identity import accounts
from services.api.identity.lockout import Attempt
from services.api.identity.passwords import Passwords
from shared.errors import InvalidFields
from shared.ledger.database import Database
from shared.ledger.statement import Statement

_FIND = Statement("""
    SELECT id, password_hash,
           EXISTS (SELECT FROM session AS s WHERE s."user" = a.id AND s.network = :network) AS is_known
    FROM account AS a WHERE email = :address AND is_active
""")

#: Does nothing when the password was changed in the meantime.
_REHASH = Statement("""
    UPDATE account SET password_hash = :made WHERE id = :id AND password_hash = :stored
""")


class Logins:
    """Checks passwords, one at a time for each network and address."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def authenticate(self, email: str, password: str, network: str) -> int | None:
        """The id of the active account with these credentials; the caller has a place in the queue.

        An unknown address takes the same time and is counted the same way. Raises LoginLocked or
        ServerUnavailable.
        """
        address = _normalised(email)
        row = None if address is None else await self._find(address, network)
        is_known = row is not None and row["is_known"]
        attempt = Attempt(self._database, address or email, network, is_known=is_known)
        turn = self._turns.setdefault(attempt.key, asyncio.Lock())
        # In turn, so that right passwords that arrive together do not count against each other.
        async with turn:
            await attempt.begin()
            fits = await self._passwords.fits(password, row["password_hash"] if row else None)
            if not fits or row is None:
                await attempt.failed()
                return None
            await attempt.succeeded()
        await self._rehash(row, password)
        return int(row["id"])

    async def _find(self, address: str, network: str) -> dict[str, Any] | None:
        rows = await self._database.run(_FIND, address=address, network=network)
        return rows[0] if rows else None

    async def _rehash(self, row: dict[str, Any], password: str) -> None:
        """Bring a hash of former parameters up to date; only now the password is at hand."""
        if self._passwords.is_outdated(row["password_hash"]):
            made = await self._passwords.hash(password)
            await self._database.run(_REHASH, id=row["id"], stored=row["password_hash"], made=made)


def _normalised(email: str) -> str | None:
    try:
        return accounts.normalised(email)
    except InvalidFields:
        return None
