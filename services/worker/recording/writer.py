"""Writes the records of a round to Postgres with one statement.

If Postgres refuses the statement because of a value, the writer finds the record at fault.
"""

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
from shared.ledger.database import Database
from shared.ledger.lifecycle import ErrorKind
from shared.ledger.sqlstate import Meaning
from shared.ledger.time_limit import SERVER_MARGIN_S, STATEMENT_TIMEOUT_S, timeout
from shared.ledger.transitions.record import LOG, RECORD, sparse
from shared.ledger.transitions.submit import RESERVE_KEYS, SUBMIT_CHILDREN
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: First pause in seconds before a round is tried again, and the maximum. The pause doubles with
#: each try.
RETRY_S, MAX_RETRY_S = 0.1, 1.0
#: If a round fails after at least this many seconds, it may have been too large, so it is split.
#: Postgres cancels a statement after this time (see `database.SERVER_MARGIN_S`).
TOO_LONG_S = STATEMENT_TIMEOUT_S - SERVER_MARGIN_S


#: While Postgres does not accept records, each reason is logged at once and then at this interval in
#: seconds.
LOG_EVERY_S = 60.0


class Writer:
    """Writes the records of rounds, on the ledger event loop.

    `turned` is called with each try, so that a long outage does not count as a stalled loop.
    """

    def __init__(self, worker: UUID, database: Database, *, turned: Callable[[], None]) -> None:
        self._worker = worker
        self._database = database
        self._turned = turned
        #: True while Postgres does not accept records. The worker then claims no more tasks.
        self.blocked = False
        #: When each reason was last logged, by the type and the SQLSTATE of the error.
        self._logged: dict[tuple[type[Exception], str | None], float] = {}

    async def write(self, entries: Sequence[Entry]) -> Written:
        """Write the records, trying again for as long as necessary. Returns the rows that were
        changed.

        The child tasks of a single attempt may take a second. Records with many child tasks are
        therefore written last, and each on its own.
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
                written = await self._try(entries)
            except asyncpg.PostgresError as error:
                if sqlstate.meaning(error) is Meaning.DATA:
                    return await self._without_the_guilty(entries, error)
                self._hold(entries, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, no record may be lost to it
                self._hold(entries, error)
            else:
                if self.blocked:
                    log.warning("the ledger accepts records again")
                    self._logged.clear()
                self._set_blocked(False)
                return written
            self._turned()
            if len(entries) > 1 and time.monotonic() - began >= TOO_LONG_S:
                # The round may have been too large, so it is split. A single record is never too
                # large.
                return await self._in_halves(entries)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_S)

    def _hold(self, entries: Sequence[Entry], error: Exception) -> None:
        """Report that Postgres does not accept the records for now, although no record is at fault.

        They are kept and tried again.
        """
        reason, now = (type(error), getattr(error, "sqlstate", None)), time.monotonic()
        if reason not in self._logged or now - self._logged[reason] >= LOG_EVERY_S:
            self._logged[reason] = now
            passing = isinstance(error, ServerUnavailable)
            log.log(
                logging.WARNING if passing else logging.ERROR,
                "the ledger does not accept %d records, which are kept and written later: %s",
                len(entries),
                error,
                exc_info=None if passing else error,
            )
        self._set_blocked(True)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        metrics.RECORDER_BLOCKED.set(blocked)

    async def _without_the_guilty(self, entries: Sequence[Entry], error: asyncpg.PostgresError) -> Written:
        """Find the record that Postgres refuses.

        Only the task of this record fails. Its error message is the reason that Postgres gives.
        """
        if len(entries) > 1:
            return await self._in_halves(entries)
        (entry,) = entries
        if entry.spawned:
            return await self._children_first(entry, error)
        if entry.bare:
            # This record was already reduced to values that Postgres accepts, so its content cannot
            # be at fault. It is dropped, so that it does not block the other records.
            log.error(
                "Postgres cannot store even the reduced record of a task; the rescuer takes it back: %s",
                error,
                extra=entry.attempt.fields,
            )
            return {}
        log.error(
            "Postgres cannot store what a task reported; the task fails with this error: %s",
            error,
            extra=entry.attempt.fields,
        )
        self._strip(entry, str(error))
        return await self.write(entries)

    async def _in_halves(self, entries: Sequence[Entry]) -> Written:
        middle = len(entries) // 2
        return await self.write(entries[:middle]) | await self.write(entries[middle:])

    async def _children_first(self, entry: Entry, error: asyncpg.PostgresError) -> Written:
        """Store the child tasks of a refused record before the record itself.

        They are stored whatever the outcome of their parent. If Postgres refuses a child task, the
        parent fails with the reason that Postgres gives.
        """
        spawned, entry.spawned = entry.spawned, []
        alone = entry.row is None and not entry.logs
        if alone and len(spawned) == 1:
            log.error(
                "Postgres cannot store a child task; the parent task fails with this error: %s",
                error,
                extra=entry.attempt.fields,
            )
            entry.attempt.refused = f"a child: {error}"
            return {}
        size = math.ceil(len(spawned) / 2) if alone else len(spawned)
        shares = [Entry(entry.attempt, spawned=share) for share in batched(spawned, size)]
        for share in shares:
            await self.write([share])
        written = {} if alone else await self.write([entry])
        # The settlement pushes the child tasks that are listed here, so these have to be the stored
        # ones.
        entry.spawned = [child for share in shares for child in share.spawned]
        return written

    def _strip(self, entry: Entry, refused: str) -> None:
        """Reduce a record to values that Postgres certainly accepts. An outcome becomes a failure.

        Child tasks that are stored immediately remain, because they do not depend on the outcome.
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
        # The records are sorted, so that concurrent statements lock rows in the same order.
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
        """Reserve the keys of child tasks, and return the child tasks whose keys were free.

        An older release may have stored the same child task under another id, because it did not
        derive ids from keys.
        """
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
    """Return the child tasks that are stored together with their parents' success."""
    succeeded = [entry for entry in entries if entry.attempt in written]
    return [child for entry in succeeded for child in entry.ready_children]
