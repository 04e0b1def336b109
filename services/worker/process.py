"""A worker process: it creates all parts of the worker, runs them, and stops them when there is a
reason to.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psutil
import uvloop
from prometheus_client import REGISTRY

from services.worker.carried_counts import CarriedCounts
from services.worker.claims.cancel_requests import LOOK_UP_S, CancelRequests
from services.worker.claims.claims import Claims
from services.worker.claims.control import Control, Decisions
from services.worker.claims.fetcher import GIVE_BACK_EVERY_S, Fetcher
from services.worker.claims.heartbeat import HEARTBEAT_S, Heartbeat
from services.worker.claims.reconciler import RECONCILE_S, Reconciler
from services.worker.claims.served import Served
from services.worker.drain import FLUSH_S, INTERRUPT_S, Drain
from services.worker.ending import REPLACED, Ending
from services.worker.process_metrics import ProcessMetrics
from services.worker.recording.inbox import Inbox
from services.worker.recording.recorder import Recorder
from services.worker.recording.settlement import Settlement
from services.worker.recording.writer import Writer
from services.worker.registry import TaskFunction
from services.worker.resources import Resources
from services.worker.running import forked_child
from services.worker.running.broker import LedgerBroker
from services.worker.running.context import Means
from services.worker.running.executor import Executor
from services.worker.running.loop_watch import LoopWatch
from services.worker.running.memory import MemoryLimit
from services.worker.running.outcome import Outcome
from services.worker.running.time_limits import TimeLimits
from services.worker.running.watchdog import Watchdog
from services.worker.running.work_queue import ThreadPool
from services.worker.workflows.starts import Starts
from services.worker.workflows.workflows import Workflows
from shared import applications, system
from shared.errors import ServerUnavailable, Stranger
from shared.keeper import Keeper
from shared.ledger import connections, tally
from shared.ledger.lifecycle import Status
from shared.ledger.schema_check import SchemaCheck
from shared.ledger.tally import Tally
from shared.migration import known
from shared.settings import Settings
from shared.submission import MARK_EVERY_S
from shared.workflows.advancer import Advancer

log = logging.getLogger(__name__)

#: Interval in seconds at which the main thread checks for signals, the memory limit and dead
#: threads.
WATCH_S = 0.25
#: If the drain takes this many seconds longer than its time limits allow, the process exits
#: immediately.
EXIT_MARGIN_S = 15.0
#: Time limit in seconds for giving back fetched ids when this worker was declared dead, or before it
#: hands over. It is short because others are already taking over its tasks, or because task bodies
#: that have to end still run.
GIVE_BACK_TIMEOUT_S = 2.0


class WorkerProcess:
    """Creates and holds all parts of a worker, and defines the order in which they start and
    stop.
    """

    def __init__(
        self,
        settings: Settings,
        queue_names: tuple[str, ...],
        tasks: Mapping[str, TaskFunction[Any, Any]],
        resources: Resources,
    ) -> None:
        self.id: UUID = uuid4()
        self._settings = settings
        self._ledger = resources.ledger
        self._schema = SchemaCheck(resources.ledger, known.ids(applications.find(settings.applications)))
        #: Why this worker does not take tasks yet. Empty once it does.
        self._waits_for = "the first answer of Postgres"
        self._ending: Ending | None = None
        #: True once there was a reason to end without a successor. It may arrive while the process
        #: already ends for another reason.
        self._stop_asked = False
        self._task_limit = int(settings.worker_max_tasks * random.uniform(0.8, 1.2))
        self._loop = uvloop.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever, name="ledger", daemon=True)
        self._loops: list[concurrent.futures.Future[None]] = []
        self._watchdog = Watchdog(settings.stall_after.total_seconds())
        self.keeper = Keeper()
        self._claims = Claims(settings.worker_threads)
        self._time_limits = TimeLimits(self._claims, tasks, resources.ledger)
        self._memory = MemoryLimit(self._claims, settings.worker_max_memory_mb, _size_of(psutil.Process()))
        self._wire_recording(resources)
        self._wire_claims(queue_names, tasks, resources)
        self._wire_running(tasks, resources)
        self.drain = Drain(
            self._claims,
            self._fetcher,
            self._inbox,
            self._recorder,
            self._tally,
            self._time_limits,
            self._memory,
            settings.worker_grace,
            self.on_loop,
        )
        REGISTRY.register(
            ProcessMetrics(self.id, queue_names, tasks, self._claims, self._inbox, self._heartbeat)
        )

    def _wire_recording(self, resources: Resources) -> None:
        self._inbox = Inbox(resources.ledger)
        self._writer = Writer(self.id, resources.ledger, turned=partial(self.keeper.turned, "recorder"))
        self._workflows = Workflows(Advancer(resources.ledger, resources.queues))
        self._tally = Tally(resources.ledger)
        self._settlement = Settlement(
            self.id,
            self._claims,
            resources.ledger,
            resources.queues,
            self._tally,
            advance=self._workflows.poke,
        )
        self._recorder = Recorder(self._inbox, self._writer, self._settlement)
        self._counts = CarriedCounts.restore()

    def _wire_claims(
        self,
        queue_names: tuple[str, ...],
        tasks: Mapping[str, TaskFunction[Any, Any]],
        resources: Resources,
    ) -> None:
        self._fetcher = Fetcher(
            self.id,
            Served(queue_names),
            tasks,
            self._claims,
            self._inbox,
            resources.ledger,
            resources.queues,
            blocked=lambda: self._writer.blocked,
            turned=partial(self.keeper.turned, "fetch"),
        )
        decisions = Decisions(
            self._fetcher,
            drain=lambda: self.end(Ending.DRAIN),
            recycle=lambda: self.end(Ending.RECYCLE_ASKED),
        )
        self._heartbeat = Heartbeat(
            self.id,
            resources.ledger,
            queue_names,
            self._claims.threads,
            declared_dead=lambda: self.end(Ending.DEAD),
            told=decisions.follow,
        )
        self._control = Control(self._heartbeat, self._claims, resources.queues)
        self._cancel_requests = CancelRequests(
            self.id, self._claims, resources.ledger, resources.queues, self._cancel
        )
        self._reconciler = Reconciler(self.id, self._claims, resources.ledger, resources.queues)
        self._queues = resources.queues

    def _wire_running(self, tasks: Mapping[str, TaskFunction[Any, Any]], resources: Resources) -> None:
        pools, starts = (resources.database, resources.ledger), Starts.of(resources, self._loop)
        means = Means(self.id, self._inbox, *pools, resources.gateways, resources.vault, starts)
        self._broker = LedgerBroker.over(self._claims, tasks, means)
        self._broker.declare_tasks(tasks, Executor(tasks, means))
        self._dramatiq = ThreadPool(self._broker, self._claims)

    def end(self, ending: Ending) -> None:
        """Ask the process to end for the given reason. The first reason decides how it ends.

        May be called in signal handlers and from any thread.
        """
        self._ending = self._ending or ending
        self._stop_asked = self._stop_asked or ending not in REPLACED

    @property
    def replaced(self) -> bool:
        """True if a new process takes the place of this one.

        This becomes False if the process is asked to stop while it drains.
        """
        return self._ending in REPLACED and not self._stop_asked

    def run(self) -> Ending:
        """Run the worker until there is a reason to end, then drain it. Raises Stranger."""
        self._loop_thread.start()
        self.on_loop(self._ledger.open(size=connections.WORKER_LEDGER_POOL))
        if not self._registered():
            return Ending.STOP
        needed = connections.of_worker(self._claims.threads)
        self.on_loop(connections.warn_when_scarce(self._ledger, needed))
        self._start()
        fields = {"worker_id": str(self.id)}
        log.info("the worker takes tasks with %d threads", self._settings.worker_threads, extra=fields)
        ending = self._watch_until_the_end()
        log.info("worker stopping: %s", ending.value, extra=fields)
        self._exit_for_certain()
        self._hand_over(ending)
        self._counts.leave(ending, self._settlement.refused)
        return ending

    def _registered(self) -> bool:
        """Wait for Postgres and its migrations, then register this worker. Raises Stranger.

        Returns False if the process is asked to end in the meantime.
        """
        while self._ending is None:
            try:
                self.on_loop(self._schema.require())
                self.on_loop(system.join(self._ledger, self._queues))
                self.on_loop(self._heartbeat.register())
            except Stranger:
                raise
            except ServerUnavailable as error:
                if str(error) != self._waits_for:
                    log.warning("waiting for Postgres: %s", error)
                self._waits_for = str(error)
                time.sleep(1.0)
            else:
                self._waits_for = ""
                return True
        return False

    def _start(self) -> None:
        self._watchdog.feed()
        forked_child.prepare()
        self._dramatiq.start()
        self._broker.emit_after("process_boot")
        self._loop_watch = LoopWatch.of_bodies()
        self._keep("recorder", self._recorder.run_once)
        self._keep("workflows", self._workflows.run_once)
        self._keep("workflow marks", self._workflows.mark, every_s=MARK_EVERY_S)
        self._keep("tally", self._tally.run_once, every_s=tally.EVERY_S)
        self._keep("heartbeat", self._heartbeat.beat, every_s=HEARTBEAT_S)
        self._keep("lock", self._heartbeat.hold_lock, every_s=HEARTBEAT_S)
        self._keep("control", self._control.listen)
        self._keep("cancel requests", self._cancel_requests.listen)
        self._keep("cancel look-up", self._cancel_requests.look_up, every_s=LOOK_UP_S)
        self._keep("reconcile", self._reconcile, every_s=RECONCILE_S)
        self._keep("unstarted claims", self._fetcher.give_back_unstarted, every_s=GIVE_BACK_EVERY_S)
        self._loop.call_soon_threadsafe(self._fetcher.start)
        self._fetching = self._keep("fetch", self._fetcher.run_once)

    def _watch_until_the_end(self) -> Ending:
        while self._ending is None:
            time.sleep(WATCH_S)
            self._watchdog.feed()
            self._watch()
            self._loop_watch.look()
            if self._time_limits.keep():
                self.end(Ending.OVERTIME)
        return self._ending

    def _watch(self) -> None:
        if self._task_limit and self._claims.finished >= self._task_limit:
            self.end(Ending.RECYCLE)
        if self._memory.exceeded():
            self.end(Ending.MEMORY)
        threads = [*self._dramatiq.workers, *self._dramatiq.consumers.values(), self._loop_thread]
        dead = [thread.name for thread in [*threads, self._loop_watch.thread] if not thread.is_alive()]
        if dead or any(loop.done() for loop in self._loops):
            log.critical("worker stopping: a background thread died: %s", ", ".join(dead) or "a loop")
            self.end(Ending.BROKEN)

    def _hand_over(self, ending: Ending) -> None:
        """Drain the worker, so that others can take over its remaining tasks after it exits."""
        try:
            if ending is Ending.DEAD:
                # If Postgres was restored from a backup, the row of this worker no longer exists, so
                # the rescuer would not look for these ids.
                self.on_loop(self._give_back_fetched())
            else:
                self._drain()
        except (ServerUnavailable, TimeoutError) as error:
            text = "the worker could not finish its drain; the rescuer takes back its tasks: %s"
            log.warning(text, error, extra={"worker_id": str(self.id)})
        except Exception:
            text = "the worker could not drain; the rescuer takes back its tasks"
            log.exception(text, extra={"worker_id": str(self.id)})

    async def _give_back_fetched(self) -> None:
        """Give back the ids that this worker has fetched from Redis but not claimed.

        `Fetcher.stop` may cancel a fetch whose response is on its way.
        """
        try:
            async with asyncio.timeout(GIVE_BACK_TIMEOUT_S):
                await self._fetcher.stop()
                await self._reconciler.run_once()
        except (ServerUnavailable, TimeoutError) as error:
            text = "fetched ids could not be given back; the scheduler finds their tasks later: %r"
            log.warning(text, error, extra={"worker_id": str(self.id)})

    def _drain(self) -> None:
        self._heartbeat.drain()
        if self.drain.run(self._fetching):
            self.on_loop(self._deregister())
        elif self.drain.handed_over:
            # The handover marks the worker as stopped. The rescuer looks for fetched ids of dead workers
            # only.
            self.on_loop(self._give_back_fetched())

    async def _deregister(self) -> None:
        """Mark this worker as stopped and delete its data in Redis, because it has nothing left to
        rescue.
        """
        await self._reconciler.run_once()
        await self._heartbeat.deregister()
        await self._queues.forget(self.id)

    def _exit_for_certain(self) -> None:
        """End the process even if the drain, or something after it, never returns."""
        drain_s = self._settings.worker_grace.total_seconds() + INTERRUPT_S + FLUSH_S
        self._watchdog.end_within(drain_s + EXIT_MARGIN_S)

    def live_problems(self) -> list[str]:
        """Return a problem for each background loop that has stalled.

        The health endpoint calls this from any thread.
        """
        return [f"the background loop '{name}' has stalled" for name in self.keeper.stalled()]

    def ready_problems(self) -> list[str]:
        """Return the reasons why no task can start in this process right now.

        The health endpoint calls this from any thread.
        """
        problems = self.live_problems()
        if self._waits_for:
            problems.append(f"the worker waits for Postgres: {self._waits_for}")
        if self._ending is not None:
            problems.append(f"the worker is stopping: {self._ending.value}")
        if self._writer.blocked:
            problems.append("the ledger does not accept this worker's records")
        return problems

    def _cancel(self, task_id: UUID, requested_at: datetime | None) -> None:
        """Pass on a cancel request. A task that no thread has started is canceled immediately."""
        unstarted = self._claims.cancel(task_id, requested_at)
        if unstarted is not None:
            self._inbox.note_end(unstarted, Outcome(Status.REVOKED, failures=unstarted.claim.failures))

    async def _reconcile(self) -> None:
        """Run the reconciler while no id is on its way from Redis to the heap of waiting attempts.

        While Postgres is unavailable, ids are always on their way, so the comparison is skipped.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONCILE_S):
                await self._fetcher.moving.acquire()
            try:
                await self._reconciler.run_once()
            finally:
                self._fetcher.moving.release()

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the ledger event loop, from another thread, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _keep(
        self, name: str, run_once: Callable[[], Awaitable[object]], *, every_s: float = 0.0
    ) -> "concurrent.futures.Future[None]":
        """Start a background loop on the ledger event loop. It runs until the process stops."""
        kept = self.keeper.keep(name, run_once, every_s=every_s)
        loop = asyncio.run_coroutine_threadsafe(kept, self._loop)
        self._loops.append(loop)
        return loop


def _size_of(process: psutil.Process) -> Callable[[], int]:
    return lambda: int(process.memory_info().rss)
