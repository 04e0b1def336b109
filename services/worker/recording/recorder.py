"""Writes what tasks do into the ledger: one statement per round, acknowledged after the commit.

Tasks never wait for it. Whatever piles up while a round is under way is the next round. When Postgres is away
the round is tried again for as long as it takes; nothing is acknowledged and nothing new is claimed
meanwhile.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from services.worker.claims.holdings import Holding, Holdings
from services.worker.clock import DatabaseClock
from services.worker.recording.record import Child, Entry, LogLine, child_columns, columns
from services.worker.running.outcome import Outcome, broken
from shared.errors import ServerAway, ServerUnavailable
from shared.ledger import engine, sqlstate, statements
from shared.ledger.engine import RECORDER
from shared.ledger.lifecycle import ErrorKind, Status
from shared.ledger.sqlstate import Meaning
from shared.telemetry import metrics
from shared.transport.queues import Address, Queues

log = logging.getLogger(__name__)

#: A batch is tried again after this, doubling up to the second number.
RETRY_S, LONGEST_RETRY_S = 0.1, 1.0
#: A round that follows another one at once waits for company until it has so many rows. Alone, a record is
#: written at once.
BATCH_ROWS = 32
#: It waits so long for each row of the last round, which tells how much company comes, but no longer than
#: the second number.
WAIT_PER_ROW_S, LONGEST_WAIT_S = 0.003, 0.025
#: How long a start waits for the end of its task: one round for both when the task is short.
START_WAIT_S = 0.005
#: How long one turn of the loop waits for records.
IDLE_S = 10.0

#: How long ago it was asked to cancel these. values: id[].
CANCELLED_SINCE = """
    SELECT id, extract(epoch FROM clock_timestamp() - cancel_requested_at)::float8 AS seconds
    FROM task WHERE id = ANY({}::uuid[]) AND cancel_requested_at IS NOT NULL
"""

Batch = dict[UUID, Entry]


class Recorder:
    """The one writer of a worker process. `note_*` are for any thread, the rest is for the ledger loop."""

    def __init__(
        self,
        worker: UUID,
        holdings: Holdings,
        queues: Queues,
        clock: DatabaseClock,
        *,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`alive` is called in each try of a round that Postgres does not take for a long time."""
        self.worker = worker
        self._alive = alive
        self._holdings = holdings
        self._queues = queues
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: Batch = {}
        #: The round that is under way.
        self._writing: Batch = {}
        self._waiters: list[tuple[UUID, Future[bool]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        #: A record that comes until then waits up to that many seconds for others.
        self._busy_until = self._wait_s = 0.0
        self._wake = asyncio.Event()
        #: A round was asked for: at once, or a little later.
        self._woken = self._wake_later = False
        #: The pending round need not wait for company any more.
        self._full = asyncio.Event()
        self._quiet = asyncio.Event()
        #: True while Postgres refuses a batch; the intake claims nothing then.
        self.blocked = False
        #: Records that came too late.
        self.refused = 0

    # What happens to a task, from any thread.

    def note_start(self, holding: Holding) -> None:
        with self._lock:
            self._entry(holding).note_start()
        self._signal(START_WAIT_S)

    def note_committed_start(self, holding: Holding) -> "Future[bool]":
        """As note_start; the future is True once the start is committed, False when the claim was over."""
        waiter: Future[bool] = Future()
        with self._lock:
            self._entry(holding).note_start()
            self._waiters.append((holding.id, waiter))
        self._signal()
        self._hurry()
        return waiter

    def note_progress(self, holding: Holding, current: int, total: int | None, message: str | None) -> None:
        with self._lock:
            self._entry(holding).note_progress(current, total, message)
        self._signal()

    def note_log(self, holding: Holding, line: LogLine) -> None:
        with self._lock:
            self._entry(holding).logs.append(line)
        self._signal()

    def note_child(self, holding: Holding, child: Child) -> None:
        with self._lock:
            self._entry(holding).spawned.append(child)
        self._signal()

    def note_end(self, holding: Holding, outcome: Outcome) -> None:
        """The attempt is over, or the claim is given back without one."""
        execution_s, ended_at = None, self._clock.now()
        if holding.started_at is not None:
            execution_s = time.monotonic() - holding.started_monotonic
            ended_at = holding.started_at + timedelta(seconds=execution_s)
        with self._lock:
            self._entry(holding).note_end(outcome, ended_at, execution_s)
        self._signal()

    def oldest_unwritten_s(self) -> float:
        """How long the oldest record has waited that is not committed; also for any thread."""
        with self._lock:
            # In the order in which they were noted; what is under way came before what is pending.
            oldest = next(iter((self._writing or self._pending).values()), None)
        return time.monotonic() - oldest.noted_monotonic if oldest is not None else 0.0

    def _entry(self, holding: Holding) -> Entry:
        entry = self._pending.get(holding.id)
        if entry is None:
            entry = self._pending[holding.id] = Entry(holding)
            if len(self._pending) == BATCH_ROWS:
                self._hurry()
        return entry

    def _signal(self, wait_s: float = 0.0) -> None:
        """Ask for a round, at once or after `wait_s` at the latest."""
        if self._woken or self._loop is None or (wait_s and self._wake_later):
            return
        if wait_s:
            self._wake_later = True
            self._loop.call_soon_threadsafe(self._loop.call_later, wait_s, self._wake.set)
        else:
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake.set)

    def _hurry(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._full.set)

    # The ledger loop.

    async def run_once(self) -> None:
        """Wait for records and write one round of them; without any, return after `IDLE_S`."""
        self._loop = asyncio.get_running_loop()
        if not self._pending:
            self._quiet.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wake.wait()
        self._quiet.clear()
        if self._loop.time() < self._busy_until:
            await self._company(self._wait_s)
        self._wake.clear()
        self._woken = self._wake_later = False
        if self._pending:
            rows = await self._round()
            self._wait_s = min(WAIT_PER_ROW_S * rows, LONGEST_WAIT_S)
            self._busy_until = self._loop.time() + self._wait_s

    async def _company(self, wait_s: float) -> None:
        assert self._loop is not None
        if len(self._pending) >= BATCH_ROWS or self._waiters:
            return
        self._full.clear()
        timer = self._loop.call_later(wait_s, self._full.set)
        await self._full.wait()
        timer.cancel()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything noted so far is written; False when that took longer."""
        try:
            async with asyncio.timeout(timeout_s):
                self._quiet.clear()
                self._wake.set()
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def _round(self) -> int:
        """Returns how many tasks it wrote of."""
        with self._lock:
            batch, self._pending = self._pending, {}
            self._writing = batch
            waiters, self._waiters = self._waiters, []
        with metrics.RECORDER_ROUND_SECONDS.time():
            written = await self._write_until_done(batch)
        self._writing = {}
        metrics.RECORDER_BATCH_ROWS.observe(len(batch))
        oldest = min(entry.noted_monotonic for entry in batch.values())
        metrics.RECORDER_LAG_SECONDS.observe(time.monotonic() - oldest)
        await self._settle(batch, written)
        for task_id, waiter in waiters:
            waiter.set_result(task_id in written)
        return len(batch)

    async def _write_until_done(self, batch: Batch) -> set[UUID]:
        """Write the batch, whatever it takes. Returns the tasks whose row took the change."""
        pause = RETRY_S
        while True:
            try:
                written = await engine.in_fresh_context(self._write(batch))
            except asyncpg.PostgresError as error:
                if sqlstate.meaning(error) is Meaning.DATA:
                    return await self._write_halves(batch, error)
                self._refused(batch, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, no record may be lost to it
                self._refused(batch, error)
            else:
                if self.blocked:
                    log.warning("the ledger takes records again")
                self._block(False)
                return written
            self._alive()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY_S)

    def _refused(self, batch: Batch, error: Exception) -> None:
        """The ledger does not take the batch, and no record is to blame: it is kept and written later."""
        if not self.blocked:
            passing = isinstance(error, ServerUnavailable)
            log.log(
                logging.WARNING if passing else logging.ERROR,
                "the ledger does not take %d records, which are kept and tried again: %s",
                len(batch),
                error,
                exc_info=not passing,
            )
        self._block(True)

    def _block(self, blocked: bool) -> None:
        self.blocked = blocked
        metrics.RECORDER_BLOCKED.set(blocked)

    async def _write_halves(self, batch: Batch, error: asyncpg.PostgresError) -> set[UUID]:
        """Find the record that Postgres refuses; it hurts only its own task, which fails with the reason."""
        if len(batch) > 1:
            items = sorted(batch.items())
            middle = len(items) // 2
            first = await self._write_until_done(dict(items[:middle]))
            return first | await self._write_until_done(dict(items[middle:]))
        ((task_id, entry),) = batch.items()
        holding = entry.holding
        if entry.bare:
            # Nothing of the body is left in it, and it must not hold up its neighbors.
            log.error("Postgres refuses even the bare record of %s, left to the rescuer: %s", holding, error)
            return set()
        log.error("Postgres refuses the record of %s, which fails with the reason: %s", holding, error)
        reason = broken(
            f"its record can't be stored: {error}", ErrorKind.UNSTORABLE, failures=holding.failures + 1
        )
        bare = Entry(holding, bare=True)
        if entry.released:
            bare.note_end(reason, self._clock.now(), None)
        else:
            bare.note_start()
        batch[task_id] = bare
        return await self._write_until_done(batch)

    async def _write(self, batch: Batch) -> set[UUID]:
        entries = [batch[task_id] for task_id in sorted(batch)]
        plain = not any(e.logs or e.spawned or (e.outcome and e.holding.children) for e in entries)
        if plain:
            return await self._write_rows(entries)
        try:
            async with (
                engine.timeout(2 * engine.STATEMENT_TIMEOUT_S),
                engine.translated(),
                engine.transaction(RECORDER),
            ):
                written = await self._write_rows(entries)
                await self._write_extras(entries, written)
                return written
        except TimeoutError:
            raise ServerAway("Postgres", reason="the round took too long") from None

    async def _write_rows(self, entries: list[Entry]) -> set[UUID]:
        rows = [entry.row for entry in entries if entry.row is not None]
        if not rows:
            return set()
        values = [statements.sparse(column) for column in columns(rows)]
        answer = await engine.run(statements.RECORD, *values, self.worker, self.worker, node=RECORDER)
        return {UUID(int=row["id"].int) for row in answer}

    async def _write_extras(self, entries: list[Entry], written: set[UUID]) -> None:
        lines = [line for entry in entries for line in entry.logs]
        if lines:
            await engine.run(statements.LOG, *columns(lines), node=RECORDER)
        children = [child for e in entries for child in _ready_children(e, written)]
        if spawned := [child for entry in entries for child in entry.spawned]:
            children += await self._with_free_key(spawned)
        if children:
            await engine.run(statements.SUBMIT_CHILDREN, *child_columns(children), node=RECORDER)

    async def _with_free_key(self, spawned: list[Child]) -> list[Child]:
        scopes = [f"task:{child.parent}" for child in spawned]
        keys, ids = [child.key for child in spawned], [child.id for child in spawned]
        free = await engine.run(statements.RESERVE_KEYS, scopes, keys, ids, node=RECORDER)
        return [child for child in spawned if child.id in {row["task_id"] for row in free}]

    async def _settle(self, batch: Batch, written: set[UUID]) -> None:
        """After the commit: acknowledge in Redis, push what is ready, forget."""
        unwritten = {i: e for i, e in batch.items() if e.row is not None and i not in written}
        standing = await self._standing(unwritten)
        metrics.RECORDED.labels("written").inc(len(written))
        metrics.RECORDED.labels("already_mine").inc(len(standing))
        self._count_refused(len(unwritten) - len(standing))
        ended = [entry for entry in batch.values() if entry.released]
        back = [e.holding for e in ended if e.holding.id in written and e.row and e.row.wait_s == 0]
        children = [c for e in batch.values() for c in e.spawned]
        children += [c for e in ended for c in _ready_children(e, written | standing)]
        ids = [entry.holding.id for entry in ended]
        try:
            await self._queues.acknowledge(self.worker, ids)
            # Before the push: an id that is fetched again at once must not look as if it were held already.
            await self._send_again(self._holdings.forget(ids))
            await self._push(back, [child for child in children if child.delay is None])
        except ServerUnavailable as error:
            log.warning("%s; the dispatcher sends what is due", error)
            self._holdings.forget(ids)
        await self._time_cancels([e for e in ended if e.holding.id in written | standing])

    def _count_refused(self, count: int) -> None:
        metrics.RECORDED.labels("refused").inc(count)
        self.refused += count
        if count:
            log.warning("%d records came too late: another claim owns those tasks", count)

    async def _time_cancels(self, ended: list[Entry]) -> None:
        """Observe how long the cancelling of these took, by the clock of Postgres."""
        rungs = {e.holding.id: rung for e in ended if (rung := _cancel_rung(e)) is not None}
        if not rungs:
            return
        with contextlib.suppress(ServerUnavailable):
            for row in await engine.run(CANCELLED_SINCE, sorted(rungs), node=RECORDER):
                rung = rungs[UUID(int=row["id"].int)]
                metrics.CANCEL_SECONDS.labels(rung).observe(row["seconds"])

    async def _standing(self, unwritten: Batch) -> set[UUID]:
        """Of those that were not written: those whose outcome stands already under this claim.

        `complete_in` may have written it before a start or a progress that was noted earlier.
        """
        claims = {i: e.holding.claim for i, e in unwritten.items()}
        if not claims:
            return set()
        try:
            rows = await engine.run(
                statements.OUTCOME_STANDS, list(claims), list(claims.values()), node=RECORDER
            )
        except ServerUnavailable:
            return set()
        return {UUID(int=row["id"].int) for row in rows}

    async def _send_again(self, ids: list[UUID]) -> None:
        """Fetched while they were held: what waits for its next attempt goes back to Postgres."""
        if ids:
            await engine.run(statements.UNCLAIMED_TO_POSTGRES, sorted(ids), node=RECORDER)

    async def _push(self, back: Iterable[Holding], children: Iterable[Child]) -> None:
        """Push what was given back for another worker to take, and children; then mark both."""
        addresses = [(Address(h.id, h.queue, h.priority, rescued=h.suspect), h.claim) for h in back]
        addresses += [(Address(c.id, c.contract.queue, c.priority), 0) for c in children]
        if not addresses:
            return
        await self._queues.push([address for address, _ in addresses])
        marks: list[tuple[UUID, int]] = sorted((address.id, claim) for address, claim in addresses)
        values: list[Any] = [list(column) for column in zip(*marks, strict=True)]
        await engine.run(statements.MARK_SENT, *values, node=RECORDER)


def _cancel_rung(entry: Entry) -> str | None:
    """What ended a task that was to be cancelled; None: nothing did, or nobody asked for it."""
    outcome = entry.outcome
    if not entry.holding.cancel_requested or outcome is None or outcome.wait_s is not None:
        return None
    if entry.holding.started_at is None:
        return "held"
    return "interrupt" if outcome.status is Status.REVOKED else "flag"


def _ready_children(entry: Entry, written: set[UUID]) -> list[Child]:
    """Children that are stored with their parent's success."""
    succeeded = entry.outcome is not None and entry.outcome.status is Status.SUCCESS
    return entry.holding.children if succeeded and entry.holding.id in written else []
