"""Checks passwords: of who signs in, and of who changes his own."""

from services.api.http.query import answered
from services.api.identity import accounts, lockout
from services.api.identity.passwords import Passwords
from shared.errors import InvalidFields
from shared.identity.tables import User


async def authenticate(passwords: Passwords, email: str, password: str) -> int | None:
    """The id of the active account with these credentials.

    An unknown address takes the same time and is counted the same way. Raises LoginLocked or
    ServerUnavailable.
    """
    address = _normalised(email)
    address_hash = lockout.key(email if address is None else address)
    await lockout.refuse_locked(address_hash)
    row = None
    if address is not None:
        active = (User.email == address) & User.is_active.eq(True)
        row = await answered(User.select(User.id, User.password_hash).where(active).first())
    if not await passwords.fits(password, row["password_hash"] if row else None) or row is None:
        await lockout.count(address_hash)
        return None
    await lockout.clear(address_hash)
    return int(row["id"])


def _normalised(email: str) -> str | None:
    try:
        return accounts.normalised(email)
    except InvalidFields:
        return None
