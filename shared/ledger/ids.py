"""Creates UUIDv7 ids, and converts between such ids and the times that they contain.

Ids are created here for rows whose id must be known before they are stored.
"""

import secrets
from datetime import UTC, datetime
from uuid import UUID

#: Two UUIDs that are lower and higher than all ids.
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)


def first_uuid7(moment: datetime) -> UUID:
    """The smallest possible UUIDv7 for the millisecond of a given time.

    It is a lower bound for the ids that are created at or after this time.
    """
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def ids_between(after: datetime | None, before: datetime | None) -> tuple[UUID, UUID]:
    """Return bounds of the ids that were created between two times.

    Such ids are at least the first bound and below the second. None for a time means no limit.
    """
    first = FIRST_ID if after is None else first_uuid7(after)
    return first, LAST_ID if before is None else first_uuid7(before)


def moment_of(task_id: UUID) -> datetime:
    """Return the time that a UUIDv7 contains.

    If that is later than any datetime, the latest possible datetime is returned.
    """
    try:
        return datetime.fromtimestamp((task_id.int >> 80) / 1000, UTC)
    except (OverflowError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def uuid7(now: datetime) -> UUID:
    """Create a UUIDv7 (RFC 9562, section 5.7) for a given time.

    The time must have a zone, and should come from the database's clock.
    """
    return uuid7_of(int(now.timestamp() * 1000), secrets.randbits(80))


def uuid7_of(milliseconds: int, rest: int) -> UUID:
    """Compose a UUIDv7 from a time in milliseconds and 80 further bits.

    Six of these bits are replaced by the version and the variant.
    """
    value = (milliseconds & (1 << 48) - 1) << 80 | rest
    value = value & ~(0xF << 76) | 0x7 << 76  # The version of the UUID, 7
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # The variant of RFC 9562
