"""Decides which accounts get mail: only active accounts with a confirmed address."""

from dataclasses import dataclass

from services.worker.hotel.sending import AddressUnverified
from shared.errors import PermanentError
from shared.identity.tables import User


@dataclass(frozen=True, slots=True)
class Recipient:
    """The fields of an account that are needed for a mail.

    The workers' database role may read no other fields.
    """

    id: int
    email: str
    full_name: str | None


async def recipient(user_id: int) -> Recipient:
    """Read the account that a mail is for. Raises PermanentError if it must not get mail."""
    columns = (User.id, User.email, User.full_name, User.verified_at)
    row = await User.select(*columns).where(User.id == user_id, User.is_active.eq(True)).first()
    if row is None:
        raise PermanentError(f"user {user_id} does not exist or is not active")
    if row.pop("verified_at") is None:
        raise AddressUnverified(user_id)
    return Recipient(**row)
