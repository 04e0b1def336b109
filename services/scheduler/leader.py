"""Elects one scheduler process as the leader, by a lease in Postgres.

The end of the lease is set and compared by the database's clock only. All work of a leader is
idempotent, so it does no harm if two processes lead for a moment.
"""

import logging
import time
from collections.abc import Callable
from uuid import UUID

from shared.ledger.database import Database
from shared.ledger.statement import Statement

log = logging.getLogger(__name__)

#: Length of a lease in seconds, and the interval at which the leader renews it. Each standby tries
#: to take the lease at the same interval. A dead leader is therefore replaced within LEASE_S +
#: RENEW_S = 4.5 s.
LEASE_S = 3.0
RENEW_S = 1.5

#: Takes or renews the lease. A lease can be taken if it has expired, and also if it ends later than
#: one lease length from now. In the latter case, the server's clock was set back after the lease
#: was written, and no scheduler could lead until the clock catches up.
ACQUIRE = Statement("""
    INSERT INTO leader_lease AS l (name, term, holder, expires_at)
    VALUES ('scheduler', 1, :scheduler, clock_timestamp() + make_interval(secs => :lease_s))
    ON CONFLICT (name) DO UPDATE SET
        term = CASE WHEN l.holder = excluded.holder THEN l.term ELSE l.term + 1 END,
        holder = excluded.holder, expires_at = excluded.expires_at
    WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp()
       OR l.expires_at > clock_timestamp() + make_interval(secs => :lease_s)
    RETURNING term
""")

RELEASE = Statement("""
    UPDATE leader_lease SET expires_at = clock_timestamp() WHERE name = 'scheduler' AND holder = :scheduler
""")


class Leader:
    """Takes part in the election of the leader on behalf of this process."""

    def __init__(self, database: Database, scheduler: UUID, *, gained: Callable[[], None]) -> None:
        self._database = database
        self._scheduler = scheduler
        self._gained = gained
        self._valid_until = 0.0
        #: Number of this process's term as leader; None while it does not lead. Each change of
        #: leader increases the number.
        self.term: int | None = None

    @property
    def leads(self) -> bool:
        """True while this process is the leader.

        It is False as soon as the lease may have expired by this process's own clock.
        """
        return self.term is not None and time.monotonic() < self._valid_until

    async def run_once(self) -> None:
        """Try to take or renew the lease."""
        asked = time.monotonic()
        try:
            rows = await self._database.run(ACQUIRE, scheduler=self._scheduler, lease_s=LEASE_S)
        except Exception:
            self._lapse(None)
            raise
        term = rows[0]["term"] if rows else None
        if rows:
            self._valid_until = asked + LEASE_S
        if term is not None and term != self.term:
            log.info(
                "the scheduler became the leader, term %d", term, extra={"scheduler_id": str(self._scheduler)}
            )
            self._gained()
        self._lapse(term)

    def _lapse(self, term: int | None) -> None:
        """Store the result of a renewal: the term, or None if the lease was not renewed.

        Without a renewal, this process keeps leading until its lease expires.
        """
        if term is None and self.term is not None and not self.leads:
            text = "the scheduler is no longer the leader and stands by"
            log.warning(text, extra={"scheduler_id": str(self._scheduler)})
        if term is not None or not self.leads:
            self.term = term

    async def release(self) -> None:
        """Release the lease, so that a standby can take over immediately."""
        if self.leads:
            await self._database.run(RELEASE, scheduler=self._scheduler)
        self.term = None
