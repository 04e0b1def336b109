"""Refuses logins to an address after too many wrong passwords.

Counted in Postgres, so that all API processes agree, and by address, so that an address without an account
behaves like any other.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.api.http.refusals import LoginLocked
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: This many wrong passwords within the window lock the address. Each further one locks it again, for longer.
ATTEMPTS: Final = 5
WINDOW: Final = timedelta(minutes=15)
FIRST_LOCK: Final = timedelta(minutes=1)
LONGEST_LOCK: Final = timedelta(minutes=15)

_LOCKED = Statement("""
    SELECT extract(epoch FROM locked_until - now())::float8 AS wait_s FROM login_failure
    WHERE address_hash = :address_hash AND locked_until > now()
""")

#: Locks the row until the transaction ends, and returns what it holds.
_HOLD = Statement("""
    INSERT INTO login_failure (address_hash, failed_at, locks, forget_at)
    VALUES (:address_hash, ARRAY[]::timestamptz[], 0, now())
    ON CONFLICT (address_hash) DO UPDATE SET locks = login_failure.locks
    RETURNING failed_at, locks, locked_until, clock_timestamp() AS now
""")

_STORE = Statement("""
    UPDATE login_failure
    SET failed_at = :failed_at, locks = :locks, locked_until = :locked_until, forget_at = :forget_at
    WHERE address_hash = :address_hash
""")

#: Each stored failure removes up to two expired ones, so the table stays small.
_SWEEP = """
    DELETE FROM login_failure WHERE address_hash IN (
        SELECT address_hash FROM login_failure WHERE forget_at < now() LIMIT 2 FOR UPDATE SKIP LOCKED
    )
"""

#: Leaves an address locked, even after the right password.
_CLEAR = Statement("""
    DELETE FROM login_failure
    WHERE address_hash = :address_hash AND (locked_until IS NULL OR locked_until <= now())
""")


@dataclass(frozen=True, slots=True)
class Failures:
    """What is known of the wrong passwords for one address."""

    failed_at: tuple[datetime, ...] = ()
    locks: int = 0
    locked_until: datetime | None = None

    def forget_at(self) -> datetime:
        return (self.locked_until or self.failed_at[-1]) + WINDOW


def after_failure(known: Failures, now: datetime) -> Failures:
    """Count one more. Locks last 1, 2, 4, 8 and then always 15 minutes."""
    if known.locked_until is not None and now < known.locked_until:
        return known  # it was under way when another one locked
    if known.failed_at and now >= known.forget_at():
        known = Failures()
    failed_at = (*(at for at in known.failed_at if now - at < WINDOW), now)[-ATTEMPTS:]
    if known.locks == 0 and len(failed_at) < ATTEMPTS:
        return replace(known, failed_at=failed_at)
    lock = min(FIRST_LOCK * 2 ** min(known.locks, 10), LONGEST_LOCK)
    return Failures(failed_at, known.locks + 1, now + lock)


def key(address: str) -> bytes:
    """What an address is counted under."""
    return hashlib.sha256(address.encode()).digest()


async def refuse_locked(database: Database, address_hash: bytes) -> None:
    """Raises LoginLocked or ServerUnavailable."""
    rows = await database.run(_LOCKED, address_hash=address_hash)
    if rows:
        raise LoginLocked(rows[0]["wait_s"])


async def count(database: Database, address_hash: bytes) -> None:
    """Store a failure. Raises ServerUnavailable."""
    async with database.short_transaction():
        (row,) = await database.run(_HOLD, address_hash=address_hash)
        known = Failures(tuple(row["failed_at"]), row["locks"], row["locked_until"])
        failures = after_failure(known, row["now"])
        await database.run(
            _STORE,
            address_hash=address_hash,
            failed_at=list(failures.failed_at),
            locks=failures.locks,
            locked_until=failures.locked_until,
            forget_at=failures.forget_at(),
        )
    await database.run(_SWEEP)


async def clear(database: Database, address_hash: bytes) -> None:
    """Forget the failures after the right password. Raises LoginLocked or ServerUnavailable."""
    await database.run(_CLEAR, address_hash=address_hash)
    # A caller that tries many passwords at once must not get in with one that was checked after the lock.
    await refuse_locked(database, address_hash)
