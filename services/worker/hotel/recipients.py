"""Whom mail may go to: accounts that are active and have confirmed their address."""

from dataclasses import dataclass

from services.worker.hotel.sending import AddressUnverified
from shared.errors import PermanentError
from shared.identity.tables import User


@dataclass(frozen=True, slots=True)
class Recipient:
    """What a mail needs of an account. Workers may read no more of it."""

    id: int
    email: str
    full_name: str | None


async def recipient(user_id: int) -> Recipient:
    """Raises PermanentError for an account that gets no mail."""
    columns = (User.id, User.email, User.full_name, User.verified_at)
    row = await User.select(*columns).where(User.id == user_id, User.is_active.eq(True)).first()
    if row is None:
        raise PermanentError(f"user {user_id} does not exist or is not active")
    if row.pop("verified_at") is None:
        raise AddressUnverified(user_id)
    return Recipient(**row)
