"""Fetches ids, claims their rows and fills the heap; gives back what does not start in time."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from services.worker.claims import prefetch
from services.worker.claims.claim import Attempt, Claim
from services.worker.claims.claims import Claims
from services.worker.claims.pace import Pace
from services.worker.claims.rate import Rate
from services.worker.claims.served import Served
from services.worker.claims.stops import Stops
from services.worker.recording.inbox import Inbox
from services.worker.registry import TaskFunction
from services.worker.running.lifecycle import given_back
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.transitions.rescue import LIFT
from shared.ledger.transitions.send import CLAIM, UNCLAIMED_TO_POSTGRES
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
GIVE_BACK_EVERY_S = UNSTARTED_S / 2
#: A task whose name or version this worker does not know waits this long for one that does.
PARKED_S = 15.0
#: Interval at which a worker asks whether its suspect may get company, and renews its turn.
LIFT_EVERY_S = 0.5
#: A suspect runs alone for this much longer than it took to die: no two runs take the same time.
LIFT_MARGIN_S = 1.0
#: How often a worker all of whose queues are paused looks for tasks that may run past the pause.
ALL_PAUSED_POLL_S = 0.25
#: Pause after Redis or Postgres did not answer.
AWAY_PAUSE_S = 0.5

NOTHING = Fetched(ids=[], suspects=False, turn=False, alone=False, waiting=0)


class Fetcher:
    """How tasks come into this process. Runs on the ledger loop."""

    def __init__(
        self,
        worker: UUID,
        served: Served,
        tasks: Mapping[str, TaskFunction[Any, Any]],
        claims: Claims,
        inbox: Inbox,
        database: Database,
        queues: Queues,
        *,
        blocked: Callable[[], bool],
        turned: Callable[[], None],
    ) -> None:
        """Nothing is claimed while `blocked()`. `turned` is called in each try of a claim that fails."""
        self._blocked = blocked
        self._worker = worker
        self._turned = turned
        self.served = served
        self._tasks = tasks
        self._claims = claims
        self._inbox = inbox
        self._database = database
        self._queues = queues
        self._slots = 0
        self._rate = Rate()
        self._ahead = 0
        self._stops = Stops()
        self._pace = Pace(every_s=GIVE_BACK_EVERY_S)
        #: Age of the body that began first.
        self._oldest_s = 0.0
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

        self._claims.listen(room)

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
        self._pace.note_round(time.monotonic())
        self.give_back(self._claims.withdraw(older_than_s=UNSTARTED_S), reason="late")

    def follow(self, paused: Collection[str], *, quiet: bool) -> None:
        """Fetch no more from queues that are paused, or from any, and give back what has not started."""
        if closed := self.served.follow(paused, quiet=quiet):
            self.give_back(self._claims.withdraw(queues=closed), reason="paused")

    def give_back(self, attempts: Sequence[Attempt], *, reason: str) -> None:
        for attempt in attempts:
            self._inbox.note_end(attempt, given_back(attempt))
            metrics.GIVEN_BACK.labels(reason, attempt.name).inc()

    async def run_once(self) -> None:
        """Fetch and claim what there is room for, or wait for room."""
        if self._stopping:
            await asyncio.sleep(BUSY_POLL_S)
            return
        self._room.clear()
        wanted = 0 if self.served.quiet or self._blocked() else self._wanted()
        if not (wanted and self._may_fetch()):
            await self._wait_for_room()
            return
        async with self.moving:
            fetched = await self._fetch(wanted)
        self._inbox.deep = fetched.waiting >= prefetch.DEEP_IDS
        self._stops.note(time.monotonic(), suspects=fetched.suspects, stops=fetched.turn or fetched.alone)
        if fetched.alone:
            await self._stay_alone(renew_turn=fetched.turn)
        elif fetched.turn:
            await self._wait_for_room()
        self._nothing_waits = not (fetched.ids or fetched.turn)
        if not self.served.open:
            await self._wait_for_room(ALL_PAUSED_POLL_S)
        elif 0 < len(fetched.ids) < wanted:
            await asyncio.sleep(HANDOVER_S)

    def _wanted(self) -> int:
        held = self._claims
        self._oldest_s = held.longest_running_s()
        self._ahead = prefetch.ahead(
            threads=held.threads,
            rate=self._rate.update(held.finished),
            longest_s=self._oldest_s,
            deep=self._inbox.deep,
        )
        return prefetch.wanted(
            threads=held.threads, busy=held.busy, waiting=held.waiting, held=len(held), ahead=self._ahead
        )

    def _may_fetch(self) -> bool:
        return len(self._claims) == 0 or self._pace.may_fetch(time.monotonic())

    def _has_room(self) -> bool:
        held = self._claims
        return prefetch.has_room(
            threads=held.threads, busy=held.busy, waiting=held.waiting, ahead=self._ahead
        )

    async def _fetch(self, wanted: int) -> Fetched:
        """Ids into the unacked set, rows into the heap."""
        if self.served.paused_here:
            await self._fetch_past()
        if not self.served.open:
            return NOTHING
        fetched = await self._fetched(wanted)
        self._slots += len(fetched.ids)
        # An id that this process holds already was sent twice, or its outcome is committed and not settled.
        self._claims.note_fetched_again(fetched.ids)
        fresh = sorted(i for i in set(fetched.ids) if i not in self._claims)
        metrics.NOT_CLAIMED.inc(len(fetched.ids) - len(fresh))
        if fresh:
            await self._claim(fresh)
        return fetched

    async def _fetch_past(self) -> None:
        """Take what operators let run past a pause. It has to start at once, or it would be given back."""
        free = self._claims.threads - self._claims.busy - self._claims.waiting
        if free > 0:
            ids = await self._queues.take_past(self._worker, self.served.paused_here, wanted=free)
            self._claims.note_fetched_again(ids)
            fresh = sorted(i for i in set(ids) if i not in self._claims)
            if fresh:
                await self._claim(fresh, past_pause=True)

    async def _fetched(self, wanted: int) -> Fetched:
        now = time.monotonic()
        self._pace.note_fetch(now)
        may_stop = self._stops.may_stop(now, oldest_s=self._oldest_s)
        wait_s = WAKE_TIMEOUT_S if self._nothing_waits and not self._pace.is_kept(now) else 0.0
        fetch = self._queues.fetch(
            self._worker,
            self.served.open,
            wanted=wanted,
            served=self._slots,
            idle=len(self._claims) == 0,
            may_stop=may_stop,
            wait_s=wait_s,
        )
        try:
            self._fetching = asyncio.create_task(fetch)
            return await self._fetching
        except (ServerUnavailable, asyncio.CancelledError):
            # Whether ids are on their way is not known; what this process holds may be among them.
            self._claims.note_fetched_again()
            raise
        finally:
            self._fetching = None

    async def _claim(self, ids: list[UUID], *, past_pause: bool = False) -> None:
        rows = await self._claimed_rows(ids)
        claimed = [Claim.from_row(row) for row in rows]
        metrics.CLAIMED.inc(len(claimed))
        known = [claim for claim in claimed if self._knows(claim)]
        # Paused while they were on their way, or moved to another queue while they were in a lane.
        stays = [] if past_pause else [Attempt.of(c) for c in known if not self.served.takes(c.queue)]
        if stays:
            known = [claim for claim in known if self.served.takes(claim.queue)]
            self._claims.keep_back(stays)
            self.give_back(stays, reason="paused")
        self._claims.add(Attempt.of(claim) for claim in sorted(known, key=lambda claim: claim.id))
        for claim in claimed:
            if not self._knows(claim):
                self._park(Attempt.of(claim))
        elsewhere = set(ids) - {claim.id for claim in claimed}
        if elsewhere:
            metrics.NOT_CLAIMED.inc(len(elsewhere))
            await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(elsewhere))
            await self._queues.acknowledge(self._worker, elsewhere)

    async def _claimed_rows(self, ids: list[UUID]) -> list[dict[str, Any]]:
        """Claim until Postgres answers: a claim whose answer was lost gives the same rows again."""
        while True:
            try:
                return await self._database.run(CLAIM, worker=self._worker, id=ids)
            except ServerUnavailable:
                if self._stopping:
                    raise
                self._turned()
                await asyncio.sleep(AWAY_PAUSE_S)

    def _knows(self, claim: Claim) -> bool:
        task = self._tasks.get(claim.name)
        return task is not None and claim.contract_version <= task.contract.version

    def _park(self, attempt: Attempt) -> None:
        """A deploy is under way, or this worker is too old for it: later, or elsewhere."""
        reason = f"no worker knows {attempt.name} version {attempt.claim.contract_version} yet"
        log.warning("%s: parked for %d s", reason, PARKED_S)
        self._inbox.note_end(attempt, given_back(attempt, wait_s=PARKED_S, reason=reason))
        metrics.GIVEN_BACK.labels("parked", attempt.name).inc()

    async def _stay_alone(self, *, renew_turn: bool) -> None:
        """Fetch nothing beside a suspect until it has ended, or has outlived what it may have done before."""
        while len(self._claims) and not self._stopping:
            await self._wait_for_room(LIFT_EVERY_S)
            self._turned()
            suspect = next(iter(self._claims.running()), None)
            with contextlib.suppress(ServerUnavailable):
                if suspect is not None and await self._is_lifted(suspect, renew_turn=renew_turn):
                    break
        self._stops.resume(time.monotonic())

    async def _is_lifted(self, suspect: Attempt, *, renew_turn: bool) -> bool:
        if not suspect.claim.suspect:
            return True
        if renew_turn:
            await self._queues.renew_turn(self._worker, suspect.queue)
        values = {"id": suspect.id, "claim": suspect.claim.number, "worker": self._worker}
        return bool(await self._database.run(LIFT, **values, margin_s=LIFT_MARGIN_S))

    async def _wait_for_room(self, timeout_s: float = BUSY_POLL_S) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._room.wait()
            self._room.clear()
        except TimeoutError:
            pass
