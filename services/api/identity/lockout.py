"""Refuses logins to an address for which too many wrong passwords came.

Counted in Postgres, so that all API processes agree, and by address, so that an address without an account
behaves like any other.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.api.http.query import transaction
from services.api.http.refusals import LoginLocked
from shared.ledger import engine

#: So many wrong passwords within the window lock; each further one locks again, for longer.
ATTEMPTS: Final = 5
WINDOW: Final = timedelta(minutes=15)
FIRST_LOCK: Final = timedelta(minutes=1)
LONGEST_LOCK: Final = timedelta(minutes=15)

#: values: address_hash.
_LOCKED = """
    SELECT extract(epoch FROM locked_until - now())::float8 AS wait_s FROM login_failure
    WHERE address_hash = {} AND locked_until > now()
"""

#: Locks the row until the transaction ends, and answers what it holds.
#: values: address_hash.
_HOLD = """
    INSERT INTO login_failure (address_hash, failed_at, locks, forget_at)
    VALUES ({}, ARRAY[]::timestamptz[], 0, now())
    ON CONFLICT (address_hash) DO UPDATE SET locks = login_failure.locks
    RETURNING failed_at, locks, locked_until, clock_timestamp() AS now
"""

#: values: failed_at, locks, locked_until, forget_at, address_hash.
_STORE = """
    UPDATE login_failure SET failed_at = {}, locks = {}, locked_until = {}, forget_at = {}
    WHERE address_hash = {}
"""

#: Each stored failure removes two that mean nothing any more, so the table stays as small as it can be.
_SWEEP = """
    DELETE FROM login_failure WHERE address_hash IN (
        SELECT address_hash FROM login_failure WHERE forget_at < now() LIMIT 2 FOR UPDATE SKIP LOCKED
    )
"""

#: A lock stays, even when the right password comes now.
#: values: address_hash.
_CLEAR = """
    DELETE FROM login_failure WHERE address_hash = {} AND (locked_until IS NULL OR locked_until <= now())
"""


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


async def refuse_locked(address_hash: bytes) -> None:
    """Raises LoginLocked or ServerUnavailable."""
    rows = await engine.run(_LOCKED, address_hash)
    if rows:
        raise LoginLocked(rows[0]["wait_s"])


async def count(address_hash: bytes) -> None:
    """Store a failure. Raises ServerUnavailable."""
    async with transaction():
        (row,) = await engine.run(_HOLD, address_hash)
        known = Failures(tuple(row["failed_at"]), row["locks"], row["locked_until"])
        failures = after_failure(known, row["now"])
        await engine.run(
            _STORE,
            list(failures.failed_at),
            failures.locks,
            failures.locked_until,
            failures.forget_at(),
            address_hash,
        )
    await engine.run(_SWEEP)


async def clear(address_hash: bytes) -> None:
    """Forget the failures, for the right password came. Raises LoginLocked or ServerUnavailable."""
    await engine.run(_CLEAR, address_hash)
    # Whoever tries many passwords at once must not get in with one that was checked after the lock.
    await refuse_locked(address_hash)
