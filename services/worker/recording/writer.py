"""Writes one round of records: one statement per round, and whose fault it is when Postgres refuses it."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg

from services.worker.recording.record import (
    MAX_CHILDREN_IN_STATEMENT,
    Child,
    Entry,
    Written,
    batched,
    child_columns,
    columns,
)
from services.worker.running.outcome import broken
from shared.errors import ServerAway, ServerUnavailable
from shared.ledger import sqlstate
from shared.ledger.database import Database, in_fresh_context
from shared.ledger.lifecycle import ErrorKind
from shared.ledger.sqlstate import Meaning
from shared.ledger.time_limit import SERVER_MARGIN_S, STATEMENT_TIMEOUT_S, timeout
from shared.ledger.transitions.record import LOG, RECORD, sparse
from shared.ledger.transitions.submit import RESERVE_KEYS, SUBMIT_CHILDREN
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: A round is tried again after this, doubling up to the second number.
RETRY_S, MAX_RETRY_S = 0.1, 1.0
#: Postgres cancels a statement after this long; see `database.SERVER_MARGIN_S`. A round that fails later may
#: have been too large, and is split.
TOO_LONG_S = STATEMENT_TIMEOUT_S - SERVER_MARGIN_S


class Writer:
    """Runs on the ledger loop. `turned` is called in each try, so that a long outage is no stalled loop."""

    def __init__(self, worker: UUID, database: Database, *, turned: Callable[[], None]) -> None:
        self._worker = worker
        self._database = database
        self._turned = turned
        #: True while Postgres does not take the records; the worker then claims nothing new.
        self.blocked = False

    async def write(self, entries: Sequence[Entry]) -> Written:
        """Write the round, however long it takes. Returns the rows that took the change.

        The children of one attempt may take a second, so records with many are written alone, after the rest.
        """
        for entry in entries:
            if entry.attempt.refused is not None and entry.released and not entry.bare:
                self._strip(entry, entry.attempt.refused)
        heavy = [entry for entry in entries if entry.children > MAX_CHILDREN_IN_STATEMENT]
        light = [e for e in entries if e.children <= MAX_CHILDREN_IN_STATEMENT] if heavy else entries
        written = await self._write_together(light) if light else {}
        for entry in heavy:
            written |= await self._write_together([entry])
        return written

    async def _write_together(self, entries: Sequence[Entry]) -> Written:
        pause = RETRY_S
        while True:
            began = time.monotonic()
            try:
                written = await in_fresh_context(self._try(entries))
            except asyncpg.PostgresError as error:
                if sqlstate.meaning(error) is Meaning.DATA:
                    return await self._without_the_guilty(entries, error)
                self._hold(entries, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, no record may be lost to it
                self._hold(entries, error)
            else:
                if self.blocked:
                    log.warning("the ledger takes records again")
                self._set_blocked(False)
                return written
            self._turned()
            if len(entries) > 1 and time.monotonic() - began >= TOO_LONG_S:
                # Perhaps it was too much for one round. One record alone always fits.
                return await self._in_halves(entries)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_S)

    def _hold(self, entries: Sequence[Entry], error: Exception) -> None:
        """The ledger does not take the round, and no record is to blame: keep it and write it later."""
        if not self.blocked:
            passing = isinstance(error, ServerUnavailable)
            log.log(
                logging.WARNING if passing else logging.ERROR,
                "the ledger does not take %d records, which are kept and tried again: %s",
                len(entries),
                error,
                exc_info=None if passing else error,
            )
        self._set_blocked(True)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        metrics.RECORDER_BLOCKED.set(blocked)

    async def _without_the_guilty(self, entries: Sequence[Entry], error: asyncpg.PostgresError) -> Written:
        """Find the record that Postgres refuses; it hurts only its own task, which fails with the reason."""
        if len(entries) > 1:
            return await self._in_halves(entries)
        (entry,) = entries
        if entry.spawned:
            return await self._children_first(entry, error)
        if entry.bare:
            # Nothing of the body is left in it, and it must not hold up its neighbors.
            log.error(
                "Postgres refuses even the bare record of %s, left to the rescuer: %s", entry.attempt, error
            )
            return {}
        log.error("Postgres refuses the record of %s, which fails with the reason: %s", entry.attempt, error)
        self._strip(entry, str(error))
        return await self.write(entries)

    async def _in_halves(self, entries: Sequence[Entry]) -> Written:
        middle = len(entries) // 2
        return await self.write(entries[:middle]) | await self.write(entries[middle:])

    async def _children_first(self, entry: Entry, error: asyncpg.PostgresError) -> Written:
        """Store the children of a refused record by themselves: they are stored whatever becomes of it.

        A child that Postgres refuses makes its parent fail with the reason.
        """
        spawned, entry.spawned = entry.spawned, []
        alone = entry.row is None and not entry.logs
        if alone and len(spawned) == 1:
            log.error("Postgres refuses a child of %s, which fails with the reason: %s", entry.attempt, error)
            entry.attempt.refused = f"a child: {error}"
            return {}
        size = math.ceil(len(spawned) / 2) if alone else len(spawned)
        shares = [Entry(entry.attempt, spawned=share) for share in batched(spawned, size)]
        for share in shares:
            await self.write([share])
        written = {} if alone else await self.write([entry])
        # The settlement pushes what is stored.
        entry.spawned = [child for share in shares for child in share.spawned]
        return written

    def _strip(self, entry: Entry, refused: str) -> None:
        """Leave of a record what Postgres takes for certain; an outcome becomes a failure.

        Children that are stored at once stay. They are no part of the outcome.
        """
        released, failures = entry.released, entry.attempt.claim.failures + 1
        entry.bare, entry.row, entry.outcome, entry.logs = True, None, None, []
        if released:
            reason = f"its record can't be stored: {refused}"
            entry.note_end(
                broken(reason, ErrorKind.UNSTORABLE, failures=failures), self._database.now(), None
            )
        else:
            entry.note_start()

    async def _try(self, entries: Sequence[Entry]) -> Written:
        # Sorted, so that two statements over the same rows lock them in one order.
        entries = sorted(entries, key=lambda entry: entry.attempt.id)
        if not any(entry.logs or entry.children for entry in entries):
            return await self._write_rows(entries)
        children = sum(entry.children for entry in entries)
        statements = 2 + math.ceil(children / MAX_CHILDREN_IN_STATEMENT)
        try:
            async with (
                timeout(statements * STATEMENT_TIMEOUT_S),
                self._database.translated(),
                self._database.transaction(),
            ):
                written = await self._write_rows(entries)
                await self._write_extras(entries, written)
                return written
        except TimeoutError:
            raise ServerAway("Postgres", reason="the round took too long") from None

    async def _write_rows(self, entries: Sequence[Entry]) -> Written:
        rows = [entry.row for entry in entries if entry.row is not None]
        if not rows:
            return {}
        values = {name: sparse(column) for name, column in columns(rows).items()}
        answer = await self._database.run(RECORD, **values, worker=self._worker)
        attempts = {(entry.attempt.id, entry.attempt.claim.number): entry.attempt for entry in entries}
        return {attempts[row["id"], row["claim"]]: row for row in answer}

    async def _write_extras(self, entries: Sequence[Entry], written: Written) -> None:
        lines = [line for entry in entries for line in entry.logs]
        if lines:
            await self._database.run(LOG, **columns(lines))
        children = _ready_children(entries, written)
        if spawned := [child for entry in entries for child in entry.spawned]:
            children += await self._with_free_key(spawned)
        for share in batched(children):
            await self._database.run(SUBMIT_CHILDREN, **child_columns(share))

    async def _with_free_key(self, spawned: list[Child]) -> list[Child]:
        """Those of which no attempt of a release before ids followed from keys has stored another."""
        ids: set[UUID] = set()
        for share in batched(spawned):
            free = await self._database.run(
                RESERVE_KEYS,
                scope=[f"task:{child.parent}" for child in share],
                key=[child.key for child in share],
                id=[child.id for child in share],
            )
            ids.update(row["task_id"] for row in free)
        return [child for child in spawned if child.id in ids]


def _ready_children(entries: Sequence[Entry], written: Written) -> list[Child]:
    """Children that are stored together with their parent's success."""
    succeeded = [entry for entry in entries if entry.attempt in written]
    return [child for entry in succeeded for child in entry.ready_children]
