"""Fetches ids, claims their rows and fills the heap; gives back what does not start in time."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from services.worker.claims import prefetch
from services.worker.claims.holdings import Holding, Holdings
from services.worker.recording.recorder import Recorder
from services.worker.registry import TaskFunction
from services.worker.running.lifecycle import given_back
from shared.errors import ServerUnavailable
from shared.ledger import engine, statements
from shared.ledger.engine import RECORDER
from shared.telemetry import metrics
from shared.transport.queues import Fetched, Queues

log = logging.getLogger(__name__)

#: How long an idle worker blocks on its wake tokens; a lost token costs no more than this.
WAKE_TIMEOUT_S = 1.0
#: A busy worker looks again after this unless a task ends before.
BUSY_POLL_S = 0.05
#: Pause after a fetch that emptied the lanes: the threads that it woke want the interpreter now.
HANDOVER_S = 0.001
#: A claim that no thread has begun after this long goes back for another worker.
UNSTARTED_S = 0.2
#: A task whose name or version this worker does not know waits this long for one that does.
PARKED_S = 15.0
#: Pause after Redis or Postgres did not answer.
AWAY_PAUSE_S = 0.5


class Intake:
    """The way of tasks into this process. Runs on the ledger loop."""

    def __init__(
        self,
        worker: UUID,
        queue_names: Sequence[str],
        tasks: Mapping[str, TaskFunction[Any, Any]],
        holdings: Holdings,
        recorder: Recorder,
        queues: Queues,
        *,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`alive` is called in each try of a claim that Postgres does not answer for a long time."""
        self._worker = worker
        self._alive = alive
        self._queue_names = queue_names
        self._tasks = tasks
        self._holdings = holdings
        self._recorder = recorder
        self._queues = queues
        self._served = 0
        self._rate = _Rate()
        self._ahead = 0
        self._room = asyncio.Event()
        self._stopping = False
        #: The lanes were empty when they were looked at last.
        self._nothing_waits = False
        self._fetching: asyncio.Task[Fetched] | None = None
        #: Held from fetch to heap, so that whoever compares Redis with memory sees no id on its way.
        self.moving = asyncio.Lock()

    def start(self) -> None:
        """Look for room whenever a task ends; called once, on the ledger loop."""
        loop = asyncio.get_running_loop()

        def room() -> None:
            # Asked for each task that ends: waking the loop each time costs more than many a task.
            if not self._room.is_set() and self._has_room():
                loop.call_soon_threadsafe(self._room.set)

        self._holdings.listen(room)

    async def stop(self) -> None:
        """Fetch no more; returns when no id is on its way."""
        self._stopping = True
        self._room.set()
        if self._fetching is not None:
            self._fetching.cancel()
        async with self.moving:
            pass

    async def give_back_unstarted(self) -> None:
        """Give back claims that have waited too long for a thread."""
        self.give_back(self._holdings.withdraw(older_than_s=UNSTARTED_S), reason="late")

    def give_back(self, holdings: Sequence[Holding], *, reason: str) -> None:
        for holding in holdings:
            self._recorder.note_end(holding, given_back(holding))
            metrics.GIVEN_BACK.labels(reason, holding.name).inc()

    async def run_once(self) -> None:
        """Fetch and claim what there is room for, or wait for room."""
        if self._stopping:
            await asyncio.sleep(BUSY_POLL_S)
            return
        self._room.clear()
        wanted = 0 if self._recorder.blocked else self._wanted()
        if not wanted:
            await self._wait_for_room()
            return
        async with self.moving:
            fetched = await self._fetch(wanted)
        if fetched.alone:
            await self._run_out()
        elif fetched.turn:
            await self._wait_for_room()
        self._nothing_waits = not (fetched.ids or fetched.turn)
        if 0 < len(fetched.ids) < wanted:
            await asyncio.sleep(HANDOVER_S)

    def _wanted(self) -> int:
        held = self._holdings
        self._ahead = prefetch.ahead(
            threads=held.threads,
            rate=self._rate.update(held.finished),
            longest_s=held.longest_running_s(),
        )
        return prefetch.wanted(
            threads=held.threads, busy=held.busy, waiting=held.waiting, held=len(held), ahead=self._ahead
        )

    def _has_room(self) -> bool:
        held = self._holdings
        return prefetch.has_room(
            threads=held.threads, busy=held.busy, waiting=held.waiting, ahead=self._ahead
        )

    async def _fetch(self, wanted: int) -> Fetched:
        """Ids into the unacked set, rows into the heap."""
        fetched = await self._fetched(wanted)
        self._served += len(fetched.ids)
        # An id that this process holds already was sent twice, or its outcome is committed and not settled.
        self._holdings.note_fetched_again(fetched.ids)
        fresh = sorted(i for i in set(fetched.ids) if i not in self._holdings)
        metrics.NOT_CLAIMED.inc(len(fetched.ids) - len(fresh))
        if fresh:
            await self._claim(fresh)
        return fetched

    async def _fetched(self, wanted: int) -> Fetched:
        idle = len(self._holdings) == 0
        wait_s = WAKE_TIMEOUT_S if self._nothing_waits else 0.0
        fetch = self._queues.fetch(
            self._worker,
            self._queue_names,
            wanted=wanted,
            served=self._served,
            idle=idle,
            wait_s=wait_s,
        )
        try:
            self._fetching = asyncio.create_task(fetch)
            return await self._fetching
        except (ServerUnavailable, asyncio.CancelledError):
            # Whether ids are on their way is not known; what this process holds may be among them.
            self._holdings.note_fetched_again()
            raise
        finally:
            self._fetching = None

    async def _claim(self, ids: list[UUID]) -> None:
        rows = await self._claimed_rows(ids)
        claimed = [_holding(row) for row in rows]
        metrics.CLAIMED.inc(len(claimed))
        known = [h for h in claimed if self._knows(h)]
        self._holdings.add(sorted(known, key=lambda holding: holding.id))
        for holding in claimed:
            if not self._knows(holding):
                self._park(holding)
        elsewhere = set(ids) - {holding.id for holding in claimed}
        if elsewhere:
            metrics.NOT_CLAIMED.inc(len(elsewhere))
            await engine.run(statements.UNCLAIMED_TO_POSTGRES, sorted(elsewhere), node=RECORDER)
            await self._queues.acknowledge(self._worker, elsewhere)

    async def _claimed_rows(self, ids: list[UUID]) -> list[dict[str, Any]]:
        """Claim until Postgres answers: a claim whose answer was lost gives the same rows again."""
        while True:
            try:
                return await engine.run(statements.CLAIM, self._worker, ids, node=RECORDER)
            except ServerUnavailable:
                if self._stopping:
                    raise
                self._alive()
                await asyncio.sleep(AWAY_PAUSE_S)

    def _knows(self, holding: Holding) -> bool:
        task = self._tasks.get(holding.name)
        return task is not None and holding.contract_version <= task.contract.version

    def _park(self, holding: Holding) -> None:
        """A deploy is under way, or this worker is too old for it: later, or elsewhere."""
        reason = f"no worker knows {holding.name} version {holding.contract_version} yet"
        log.warning("%s: parked for %d s", reason, PARKED_S)
        self._recorder.note_end(holding, given_back(holding, wait_s=PARKED_S, reason=reason))
        metrics.GIVEN_BACK.labels("parked", holding.name).inc()

    async def _run_out(self) -> None:
        """Fetch nothing until everything held has ended and is acknowledged."""
        while len(self._holdings) and not self._stopping:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(BUSY_POLL_S):
                await self._room.wait()
            self._room.clear()
        except TimeoutError:
            pass


class _Rate:
    """Tasks ended per second, over windows of 50 ms or 32 tasks: a queue that fills up is soon known."""

    def __init__(self) -> None:
        self._at, self._count, self._rate = time.monotonic(), 0, 0.0

    def update(self, count: int) -> float:
        now = time.monotonic()
        if now - self._at >= 0.05 or (count - self._count >= 32 and now > self._at):
            self._rate = (count - self._count) / (now - self._at)
            self._at, self._count = now, count
        return self._rate


def _holding(row: Mapping[str, Any]) -> Holding:
    return Holding(
        id=UUID(int=row["id"].int),
        claim=row["claim"],
        name=row["name"],
        contract_version=row["contract_version"],
        queue=row["queue"],
        priority=row["priority"],
        status=row["status"],
        params=row["params"],
        attempt=row["attempt"],
        failures=row["failures"],
        max_attempts=row["max_attempts"],
        suspect=row["suspect"],
        owner=row["owner"],
        ready_at=row["ready_at"],
        claimed_at=row["claimed_at"],
        cancel_requested=row["cancel_requested_at"] is not None,
        cancel_requested_at=row["cancel_requested_at"],
        expired=bool(row["expired"]),
    )
