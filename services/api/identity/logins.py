"""Checks passwords, at sign-in and before a change of the password."""

from services.api.identity import accounts, lockout
from services.api.identity.passwords import Passwords
from shared.errors import InvalidFields
from shared.identity.tables import User
from shared.ledger.database import Database


async def authenticate(database: Database, passwords: Passwords, email: str, password: str) -> int | None:
    """The id of the active account with these credentials.

    An unknown address takes the same time and is counted the same way. Raises LoginLocked or
    ServerUnavailable.
    """
    address = _normalised(email)
    address_hash = lockout.key(email if address is None else address)
    await lockout.refuse_locked(database, address_hash)
    row = None
    if address is not None:
        active = (User.email == address) & User.is_active.eq(True)
        row = await database.answered(User.select(User.id, User.password_hash).where(active).first())
    if not await passwords.fits(password, row["password_hash"] if row else None) or row is None:
        await lockout.count(database, address_hash)
        return None
    await lockout.clear(database, address_hash)
    return int(row["id"])


def _normalised(email: str) -> str | None:
    try:
        return accounts.normalised(email)
    except InvalidFields:
        return None
