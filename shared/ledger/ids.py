"""UUIDv7 for rows whose id must be known before they are stored."""

import secrets
from datetime import UTC, datetime
from uuid import UUID


def first_uuid7(moment: datetime) -> UUID:
    """The smallest UUIDv7 of this moment's millisecond: it parts what was made before from what came then."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def moment_of(task_id: UUID) -> datetime:
    """The millisecond that a UUIDv7 begins with; the last one that a datetime can tell for ids above that."""
    try:
        return datetime.fromtimestamp((task_id.int >> 80) / 1000, UTC)
    except (OverflowError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def uuid7(now: datetime) -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7) of this aware time, which should be the database's."""
    return uuid7_of(int(now.timestamp() * 1000), secrets.randbits(80))


def uuid7_of(milliseconds: int, rest: int) -> UUID:
    """The UUIDv7 of this time with these 80 bits, of which version and variant replace six."""
    value = (milliseconds & (1 << 48) - 1) << 80 | rest
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # variant
