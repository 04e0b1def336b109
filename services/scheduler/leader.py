"""Elects one scheduler: a lease in Postgres, compared and set by database time.

All that a leader does is idempotent, so two leaders for a moment are harmless.
"""

import logging
import time
from collections.abc import Callable
from uuid import UUID

from shared.ledger.database import Database
from shared.ledger.statement import Statement

log = logging.getLogger(__name__)

#: The leader renews its lease every `RENEW_S`, and a standby asks for it as often. A dead leader is replaced
#: within LEASE_S + RENEW_S = 4.5 s.
LEASE_S = 3.0
RENEW_S = 1.5

#: A lease further ahead than its length was written before the server's clock was put back. It counts as
#: expired: otherwise no scheduler would lead until the clock has caught up with it.
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
    """This process' part in the election."""

    def __init__(self, database: Database, scheduler: UUID, *, gained: Callable[[], None]) -> None:
        self._database = database
        self._scheduler = scheduler
        self._gained = gained
        self._valid_until = 0.0
        #: Goes up with each change of leader; None while this process does not lead.
        self.term: int | None = None

    @property
    def leads(self) -> bool:
        """False as soon as the lease may have passed, by this process' own clock."""
        return self.term is not None and time.monotonic() < self._valid_until

    async def run_once(self) -> None:
        """Take or renew the lease."""
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
            log.info("scheduler %s leads, term %d", self._scheduler, term)
            self._gained()
        self._lapse(term)

    def _lapse(self, term: int | None) -> None:
        """Take over the term; without one this process leads until its lease has passed."""
        if term is None and self.term is not None and not self.leads:
            log.warning("scheduler %s leads no longer", self._scheduler)
        if term is not None or not self.leads:
            self.term = term

    async def release(self) -> None:
        """Let a standby take over at once."""
        if self.leads:
            await self._database.run(RELEASE, scheduler=self._scheduler)
        self.term = None
