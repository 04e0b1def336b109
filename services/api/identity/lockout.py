"""Refuses sign-ins after too many wrong passwords, before the password is hashed.

An attempt is counted before its password is checked. Otherwise, many simultaneous attempts could
all be checked. If the password is right, its attempt is subtracted again.

Attempts are counted twice. The narrow count is per address and network. The wide count is per
address, over all networks except those at which the account has a session. An attacker can
therefore keep the owner from signing in at a new network, but not at a known one.

The counts are kept in Postgres, so that all API processes share them. They are kept by address and
not by account, so that an address without an account behaves like any other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from services.api.identity.sign_in_refusals import LoginLocked
from shared.ledger.database import Database
from shared.ledger.statement import Statement


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that defines how many wrong passwords lead to a lock, and how long the lock lasts."""

    #: Number of wrong passwords within the time window that lead to a lock. Each further one
    #: doubles the duration of the lock.
    attempts: int
    window: timedelta
    first_lock: timedelta
    longest_lock: timedelta


NARROW: Final = Policy(5, timedelta(minutes=15), timedelta(minutes=1), timedelta(minutes=15))
#: Policy for wrong passwords for one account from any network. NIST SP 800-63B-4, 3.2.2, allows at
#: most 100 of them in a row.
WIDE: Final = Policy(50, timedelta(hours=1), timedelta(minutes=15), timedelta(hours=1))

_LOCKED = Statement("""
    SELECT max(extract(epoch FROM locked_until - now()))::float8 AS wait_s FROM login_failure
    WHERE address_hash = ANY(:keys::bytea[]) AND locked_until > now()
""")

#: Locks the row of one count until the transaction ends, and returns its contents.
_HOLD = Statement("""
    INSERT INTO login_failure (address_hash, failed_at, locks, forget_at)
    VALUES (:key, ARRAY[]::timestamptz[], 0, now())
    ON CONFLICT (address_hash) DO UPDATE SET locks = login_failure.locks
    RETURNING failed_at, locks, locked_until, clock_timestamp() AS now
""")

_STORE = Statement("""
    UPDATE login_failure
    SET failed_at = :failed_at, locks = :locks, locked_until = :locked_until, forget_at = :forget_at
    WHERE address_hash = :key
""")

#: Removes up to three expired rows. Each wrong password adds at most two rows, so the table stays
#: small.
_SWEEP = """
    DELETE FROM login_failure WHERE address_hash IN (
        SELECT address_hash FROM login_failure WHERE forget_at < now() LIMIT 3 FOR UPDATE SKIP LOCKED
    )
"""

_FORGET = Statement("DELETE FROM login_failure WHERE address_hash = :key")

#: Subtracts one attempt from a count, but not the attempts of other requests. A row without
#: attempts is removed.
_TAKE_BACK = Statement("""
    WITH last AS (DELETE FROM login_failure WHERE address_hash = :key AND failed_at = ARRAY[:at::timestamptz])
    UPDATE login_failure SET failed_at = array_remove(failed_at, :at)
    WHERE address_hash = :key AND failed_at <> ARRAY[:at::timestamptz]
""")


@dataclass(frozen=True, slots=True)
class Failures:
    """The attempts that are counted under one key. Attempts that have not finished count as
    failures.
    """

    failed_at: tuple[datetime, ...] = ()
    locks: int = 0
    locked_until: datetime | None = None

    def forget_at(self, policy: Policy) -> datetime:
        return (self.locked_until or self.failed_at[-1]) + policy.window

    def is_locked(self, now: datetime) -> bool:
        return self.locked_until is not None and now < self.locked_until


def after_attempt(known: Failures, now: datetime, policy: Policy) -> Failures:
    """Return the count after one more attempt. Call this only while no lock is active.

    Locks of the narrow count (one address and network) last 1, 2, 4, 8 and then 15 minutes.
    """
    if known.failed_at and now >= known.forget_at(policy):
        known = Failures()
    failed_at = (*(at for at in known.failed_at if now - at < policy.window), now)[-policy.attempts :]
    if known.locks == 0 and len(failed_at) < policy.attempts:
        return replace(known, failed_at=failed_at)
    lock = min(policy.first_lock * 2 ** min(known.locks, 10), policy.longest_lock)
    return Failures(failed_at, known.locks + 1, now + lock)


class Attempt:
    """One check of a password, which counts as a failure from the moment it begins."""

    def __init__(self, database: Database, address: str, network: str, *, is_known: bool) -> None:
        """`is_known` is True if the account already has a session from this network."""
        self._database = database
        self.key = narrow_key(address, network)
        self._wide = None if is_known else wide_key(address)
        self._counted_at: dict[bytes, datetime] = {}

    async def begin(self) -> None:
        """Count the attempt before its password is checked. Raises LoginLocked, without counting
        it, or ServerUnavailable.
        """
        # The lock is checked before anything is written, so that a locked-out caller causes no
        # writes.
        await self._refuse_locked()
        async with self._database.short_transaction():
            for key, policy in self._counts():
                await self._count(key, policy)

    async def succeeded(self) -> None:
        """The password was right: remove the failures of this network, and subtract this attempt
        from the wide count.
        """
        await self._database.run(_FORGET, key=self.key)
        if self._wide:
            await self._database.run(_TAKE_BACK, key=self._wide, at=self._counted_at[self._wide])

    async def failed(self) -> None:
        """The password was wrong: do nothing, because the attempt is already counted as a failure."""
        await self._database.run(_SWEEP)

    def _counts(self) -> Sequence[tuple[bytes, Policy]]:
        """The keys under which the attempt is counted. They are always in the same order, so that
        two attempts cannot deadlock.
        """
        return [(self.key, NARROW), *([(self._wide, WIDE)] if self._wide else [])]

    async def _refuse_locked(self) -> None:
        keys = [key for key, _ in self._counts()]
        (row,) = await self._database.run(_LOCKED, keys=keys)
        if row["wait_s"] is not None:
            raise LoginLocked(row["wait_s"])

    async def _count(self, key: bytes, policy: Policy) -> None:
        (row,) = await self._database.run(_HOLD, key=key)
        known, now = _failures(row), row["now"]
        if known.locked_until and known.is_locked(now):
            raise LoginLocked((known.locked_until - now).total_seconds())
        failures = after_attempt(known, now, policy)
        await self._database.run(
            _STORE,
            key=key,
            failed_at=list(failures.failed_at),
            locks=failures.locks,
            locked_until=failures.locked_until,
            forget_at=failures.forget_at(policy),
        )
        self._counted_at[key] = now


def narrow_key(address: str, network: str) -> bytes:
    """Return the key of the narrow count, which is for one address at one network."""
    return _digest(f"{network}|{address}")


def wide_key(address: str) -> bytes:
    """Return the key of the wide count, which is for one address at all networks."""
    return _digest(f"|{address}")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _failures(row: dict[str, Any]) -> Failures:
    return Failures(tuple(row["failed_at"]), row["locks"], row["locked_until"])
