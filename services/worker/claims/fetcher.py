"""Fetches task ids from Redis, claims the tasks in Postgres, and puts them into the heap of waiting
attempts, from which threads take them.

Claims that no thread takes in time are given back.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
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
from shared.ledger.lifecycle import UNKNOWN_TO_WORKERS
from shared.ledger.transitions.rescue import LIFT
from shared.ledger.transitions.send import CLAIM, UNCLAIMED_TO_POSTGRES
from shared.telemetry import metrics
from shared.transport.queues import Fetched, Queues

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Maximum time that an idle worker waits for a wake token, a Redis entry that announces new tasks.
#: If a token is lost, a task is delayed by at most this much.
WAKE_TIMEOUT_S = 1.0
#: Interval in seconds at which a busy worker checks whether it can take more tasks. It also checks
#: when one of its tasks ends.
BUSY_POLL_S = 0.05
#: Pause in seconds after a fetch that emptied the lanes. It gives the interpreter to the threads
#: that the fetch has woken.
HANDOVER_S = 0.001
#: A claim that no thread has taken after this many seconds is given back, so that another worker
#: can run the task.
UNSTARTED_S = 0.2
GIVE_BACK_EVERY_S = UNSTARTED_S / 2
#: Seconds after which a parked task is sent again. A task is parked if this worker does not know
#: its name or version.
PARKED_S = 15.0
#: Interval in seconds at which a worker that runs a suspect (a task whose worker died) checks
#: whether it may take other tasks again. At the same interval, it renews its right to stop
#: fetching.
LIFT_EVERY_S = 0.5
#: A suspect runs alone at first. Other tasks may join once it has run for longer than it did when
#: its worker died, plus this margin in seconds, because no two runs take the same time.
LIFT_MARGIN_S = 1.0
#: Interval in seconds at which a worker whose queues are all paused looks for single tasks that
#: operators let run in spite of the pause.
ALL_PAUSED_POLL_S = 0.25
#: Pause in seconds after a claim to which Postgres did not answer.
AWAY_PAUSE_S = 0.5

NOTHING = Fetched(ids=[], suspects=False, turn=False, alone=False, waiting=0)


class Fetcher:
    """Brings tasks into this worker process. Use it only on the ledger event loop."""

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
        """No task is claimed while `blocked()` is True.

        `turned` is called after each failed try of a claim, so that a long outage does not count as
        a stalled loop.
        """
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
        #: Age in seconds of the running task body that started first.
        self._oldest_s = 0.0
        self._room = asyncio.Event()
        self._stopping = False
        #: True if the lanes of the open queues were empty at the last fetch.
        self._nothing_waits = False
        self._fetching: asyncio.Task[Any] | None = None
        #: Held while ids are on their way from Redis into the heap of waiting attempts. The
        #: reconciler compares Redis with the memory of this process and holds this lock meanwhile,
        #: so that it does not miss such ids.
        self.moving = asyncio.Lock()

    def start(self) -> None:
        """Check whether more tasks can be taken whenever a task ends.

        Called once, on the ledger event loop.
        """
        loop = asyncio.get_running_loop()

        def room() -> None:
            # The check runs in the thread of the task that ended. Waking the loop for every task
            # would cost more than many a task itself.
            if not self._room.is_set() and self._has_room():
                loop.call_soon_threadsafe(self._room.set)

        self._claims.listen(room)

    async def stop(self) -> None:
        """Stop fetching.

        When this returns, no id is on its way from Redis to the heap of waiting attempts.
        """
        self._stopping = True
        self._room.set()
        if self._fetching is not None:
            self._fetching.cancel()
        async with self.moving:
            pass

    async def give_back_unstarted(self) -> None:
        """Give back the claims that no thread has taken within UNSTARTED_S."""
        self._pace.note_round(time.monotonic())
        self.give_back(self._claims.withdraw(older_than_s=UNSTARTED_S), reason="late")

    def follow(self, paused: Collection[str], *, quiet: bool) -> None:
        """Stop fetching from paused queues, or from all queues if `quiet` is True.

        Claims of these queues that have not started are given back.
        """
        if closed := self.served.follow(paused, quiet=quiet):
            self.give_back(self._claims.withdraw(queues=closed), reason="paused")

    def give_back(self, attempts: Sequence[Attempt], *, reason: str) -> None:
        for attempt in attempts:
            self._inbox.note_end(attempt, given_back(attempt))
            metrics.GIVEN_BACK.labels(reason, attempt.name).inc()

    async def run_once(self) -> None:
        """Fetch and claim as many tasks as this worker has room for, or wait until it has room."""
        if self._stopping:
            await asyncio.sleep(BUSY_POLL_S)
            return
        self._room.clear()
        wanted = 0 if self.served.quiet or self._blocked() else self._wanted()
        if not (wanted and await self._may_fetch()):
            await self._wait_for_room()
            return
        async with self.moving:
            fetched = await self._fetch(wanted)
        self._inbox.deep = fetched.waiting >= prefetch.DEEP_IDS
        self._stops.note(time.monotonic(), suspects=fetched.suspects, stops=fetched.turn or fetched.alone)
        if fetched.alone:
            metrics.ISOLATED.inc()
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

    async def _may_fetch(self) -> bool:
        """Decide whether this worker may fetch.

        It may not while a task body blocks its interpreter, unless no other worker takes the
        waiting tasks.
        """
        now = time.monotonic()
        if len(self._claims) == 0 or not self._pace.is_kept(now):
            return True
        if not self._pace.may_look(now):
            return False
        waiting = await self._queues.waiting(self.served.open, self.served.paused_here)
        return self._pace.is_left_alone(time.monotonic(), waiting)

    def _has_room(self) -> bool:
        held = self._claims
        return prefetch.has_room(
            threads=held.threads, busy=held.busy, waiting=held.waiting, ahead=self._ahead
        )

    async def _fetch(self, wanted: int) -> Fetched:
        """Move ids into this worker's unacked set in Redis, claim their rows, and put the claims
        into the heap of waiting attempts.
        """
        await self._take(await self._fetched_past(), past_pause=True)
        if not self.served.open:
            return NOTHING
        fetched = await self._fetched(wanted)
        self._slots += len(fetched.ids)
        await self._take(fetched.ids)
        return fetched

    async def _fetched_past(self) -> list[UUID]:
        """Fetch single tasks of paused queues that operators let run in spite of the pause.

        This is done only if a thread is free, because a task of a paused queue is given back if it
        does not start immediately.
        """
        free = self._claims.threads - self._claims.busy - self._claims.waiting
        if not self.served.paused_here or free <= 0:
            return []
        return await self._answer(self._queues.take_past(self._worker, self.served.paused_here, wanted=free))

    async def _fetched(self, wanted: int) -> Fetched:
        now = time.monotonic()
        may_stop = self._stops.may_stop(now, oldest_s=self._oldest_s)
        wait_s = WAKE_TIMEOUT_S if self._nothing_waits and not self._pace.is_kept(now) else 0.0
        return await self._answer(
            self._queues.fetch(
                self._worker,
                self.served.open,
                wanted=wanted,
                served=self._slots,
                idle=len(self._claims) == 0,
                may_stop=may_stop,
                wait_s=wait_s,
            )
        )

    async def _answer(self, fetch: Coroutine[Any, Any, T]) -> T:
        """Wait for the response to a fetch. `stop` may cancel the wait."""
        try:
            self._fetching = task = asyncio.create_task(fetch)
            return await task
        except (ServerUnavailable, asyncio.CancelledError):
            # The fetch may have moved ids although its response was lost, including ids of tasks
            # that this process already holds.
            self._claims.note_fetched_again()
            raise
        finally:
            self._fetching = None

    async def _take(self, ids: Sequence[UUID], *, past_pause: bool = False) -> None:
        """Claim the fetched tasks that this process does not hold yet.

        Ids of tasks that it holds were sent twice, or their tasks are not acknowledged yet.
        """
        self._claims.note_fetched_again(ids)
        fresh = sorted(i for i in set(ids) if i not in self._claims)
        metrics.NOT_CLAIMED.inc(len(ids) - len(fresh))
        if fresh:
            await self._claim(fresh, past_pause=past_pause)

    async def _claim(self, ids: list[UUID], *, past_pause: bool = False) -> None:
        rows = await self._claimed_rows(ids)
        claimed = [Claim.from_row(row) for row in rows]
        metrics.CLAIMED.inc(len(claimed))
        known = [claim for claim in claimed if self._knows(claim)]
        # A queue may have been paused after the fetch, or a task may have been moved to another
        # queue. Tasks of queues that are not open are given back.
        stays = [] if past_pause else [Attempt.of(c) for c in known if not self.served.takes(c.queue)]
        if stays:
            known = [claim for claim in known if self.served.takes(claim.queue)]
            self._claims.keep_back(stays)
            self.give_back(stays, reason="paused")
        self._claims.add(Attempt.of(claim) for claim in sorted(known, key=lambda claim: claim.id))
        unknown = [Attempt.of(claim) for claim in claimed if not self._knows(claim)]
        self._claims.keep_back(unknown)
        for attempt in unknown:
            self._park(attempt)
        elsewhere = set(ids) - {claim.id for claim in claimed}
        if elsewhere:
            metrics.NOT_CLAIMED.inc(len(elsewhere))
            await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(elsewhere))
            await self._queues.acknowledge(self._worker, elsewhere)

    async def _claimed_rows(self, ids: list[UUID]) -> list[dict[str, Any]]:
        """Claim these tasks, trying again until Postgres answers.

        If the response to a claim was lost, repeating the claim returns the same rows.
        """
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
        """Give back a task that this worker does not know, to be tried again later.

        Another worker may know it: during a deploy, workers of different releases run side by side.
        """
        reason = f"{UNKNOWN_TO_WORKERS} {attempt.name} version {attempt.claim.contract_version} yet"
        text = "%s: the task is given back, and some worker of its queue tries it again in %d s"
        log.warning(text, reason, PARKED_S, extra=attempt.fields)
        self._inbox.note_end(attempt, given_back(attempt, wait_s=PARKED_S, reason=reason))
        metrics.GIVEN_BACK.labels("parked", attempt.name).inc()

    async def _stay_alone(self, *, renew_turn: bool) -> None:
        """Fetch nothing while a suspect (a task whose worker died) runs alone.

        Returns when the suspect has ended, or has run for longer than it did when its worker died.
        """
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
