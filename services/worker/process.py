"""One worker process: builds its parts, runs them, drains them."""

import asyncio
import concurrent.futures
import contextlib
import enum
import logging
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psutil
import uvloop
from dramatiq.middleware import Middleware
from piccolo.engine.postgres import PostgresEngine
from prometheus_client import REGISTRY

from services.worker.claims.fetcher import UNSTARTED_S, Intake
from services.worker.claims.heartbeat import HEARTBEAT_S, RECONCILE_S, Presence
from services.worker.claims.holdings import Holding, Holdings
from services.worker.clock import DatabaseClock
from services.worker.process_metrics import Vitals
from services.worker.recording.record import Row
from services.worker.recording.recorder import Recorder
from services.worker.registry import TaskFunction
from services.worker.running.broker import LedgerBroker
from services.worker.running.event_loop import EventLoop
from services.worker.running.executor import Executor, interrupt
from services.worker.running.lifecycle import Lifecycle
from services.worker.running.outcome import Outcome
from services.worker.running.time_limits import Overtime
from services.worker.running.watchdog import Watchdog
from services.worker.running.work_queue import ThreadPool
from shared.errors import ServerUnavailable
from shared.keeper import Keeper
from shared.ledger import engine
from shared.ledger.engine import RECORDER
from shared.ledger.lifecycle import Status
from shared.settings import Settings
from shared.telemetry import metrics
from shared.transport import queues
from shared.vault import Vault

log = logging.getLogger(__name__)

#: A process whose records are refused replaces itself before Prometheus asks again: how many there were goes
#: over the exec in this environment variable.
REFUSED_VARIABLE = "WORKER_REFUSED_RECORDS"
#: Pause between two looks at signals, memory and threads.
WATCH_S = 0.25
#: How long interrupted bodies may take to end, and the recorder to write the last outcomes.
INTERRUPT_S, FLUSH_S = 1.0, 3.0
#: A process whose drain has not returned this long after its limits is ended where it stands.
EXIT_MARGIN_S = 15.0


class Ending(enum.Enum):
    """Why a process ends."""

    STOP = "asked to stop"
    RECYCLE = "has done its share"
    DEAD = "was declared dead"
    BROKEN = "a thread has died"
    OVERTIME = "runs a body that does not end"


def middleware_stack(
    database: PostgresEngine,
    holdings: Holdings,
    recorder: Recorder,
    tasks: Mapping[str, TaskFunction[Any, Any]],
    clock: DatabaseClock,
    vault: Vault,
) -> list[Middleware]:
    """Every middleware, in order. Dramatiq runs `before` hooks down and `after` hooks up this list.

    Its own Retries, AgeLimit, Callbacks and Pipelines are left out: the ledger does their work.
    """
    return [
        # First, so that the loop stands before anything may use it and falls last.
        EventLoop(database, pool_size=holdings.threads),
        # Last, so that its `before` sees what the others let pass and its `after` is the first to see the
        # end.
        Lifecycle(recorder, tasks, clock, vault),
    ]


class WorkerProcess:
    """The parts of a worker and the order in which they start and stop."""

    def __init__(
        self,
        settings: Settings,
        queue_names: tuple[str, ...],
        tasks: Mapping[str, TaskFunction[Any, Any]],
        gateways: Mapping[type, Any],
        database: PostgresEngine,
        vault: Vault,
    ) -> None:
        self.id: UUID = uuid4()
        self._settings = settings
        self._database = database
        self._ending: Ending | None = None
        #: How attempts ended whose bodies only the end of this process ends; see `bequest`.
        self.bequeathed: list[Row] = []
        self._loop = uvloop.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever, name="ledger", daemon=True)
        self._loops: list[concurrent.futures.Future[None]] = []
        self._watchdog = Watchdog(settings.stall_after.total_seconds())
        self._task_limit = int(settings.worker_max_tasks * random.uniform(0.8, 1.2))
        self._self = psutil.Process()
        clock = DatabaseClock()
        self._holdings = Holdings(settings.worker_threads)
        self._overtime = Overtime(self._holdings, tasks, clock)
        self._queues = queues.Queues(queues.connect(settings.redis_url))
        self.keeper = Keeper()
        self._recorder = Recorder(
            self.id, self._holdings, self._queues, clock, alive=partial(self.keeper.turned, "recorder")
        )
        self._intake = Intake(
            self.id,
            queue_names,
            tasks,
            self._holdings,
            self._recorder,
            self._queues,
            alive=partial(self.keeper.turned, "fetch"),
        )
        self._presence = Presence(
            self.id,
            settings.database_url,
            queue_names,
            self._holdings,
            self._queues,
            clock,
            declared_dead=lambda: self.end(Ending.DEAD),
            revoke=self._revoke,
        )
        self._refused_before = int(os.environ.pop(REFUSED_VARIABLE, "0"))
        metrics.RECORDED.labels("refused").inc(self._refused_before)
        REGISTRY.register(Vitals(queue_names, tasks, self._holdings, self._recorder, self._presence))
        stack = middleware_stack(database, self._holdings, self._recorder, tasks, clock, vault)
        self._broker = LedgerBroker(self._holdings, self._recorder, stack)
        self._broker.declare_tasks(tasks, Executor(tasks, self._recorder, gateways, clock, vault))
        self._dramatiq = ThreadPool(self._broker, self._holdings)

    def end(self, ending: Ending) -> None:
        """Ask the process to end; safe in signal handlers and from any thread. The first reason stands."""
        self._ending = self._ending or ending

    def run(self) -> Ending:
        """Work until there is a reason to end, then drain."""
        self._loop_thread.start()
        self._on_loop(engine.open_pool(self._database.extra_nodes[RECORDER], size=4))
        if not self._registered():
            return Ending.STOP
        self._watchdog.feed()
        self._dramatiq.start()
        self._broker.emit_after("process_boot")
        self._keep("recorder", self._recorder.run_once)
        self._keep("heartbeat", self._presence.beat, every_s=HEARTBEAT_S)
        self._keep("cancel requests", self._presence.hear_cancel)
        self._keep("reconcile", self._reconcile, every_s=RECONCILE_S)
        self._keep("unstarted claims", self._intake.give_back_unstarted, every_s=UNSTARTED_S / 2)
        self._loop.call_soon_threadsafe(self._intake.start)
        intake = self._keep("fetch", self._intake.run_once)
        log.info("worker %s serves with %d threads", self.id, self._settings.worker_threads)
        while self._ending is None:
            time.sleep(WATCH_S)
            self._watchdog.feed()
            self._watch()
            if self._overtime.keep_limits():
                self.end(Ending.OVERTIME)
        self._watchdog.rest()
        log.info("worker %s ends: it %s", self.id, self._ending.value)
        self._exit_for_certain()
        if self._ending is not Ending.DEAD:
            try:
                self._drain(intake)
            except Exception:
                log.exception("worker %s could not drain; the rescuer takes what it holds", self.id)
        os.environ[REFUSED_VARIABLE] = str(self._refused_before + self._recorder.refused)
        return self._ending

    def _exit_for_certain(self) -> None:
        """End the process even when the drain, or something after it, never returns."""
        limit_s = self._settings.worker_grace.total_seconds() + INTERRUPT_S + FLUSH_S + EXIT_MARGIN_S
        timer = threading.Timer(limit_s, os._exit, (1,))
        timer.daemon = True
        timer.start()

    def live_problems(self) -> list[str]:
        """Background loops that do not turn; asked by the health endpoint, from any thread."""
        return [f"the loop '{name}' does not turn" for name in self.keeper.stalled()]

    def ready_problems(self) -> list[str]:
        """Why no task is started right now; asked by the health endpoint, from any thread."""
        problems = self.live_problems()
        if self._ending is not None:
            problems.append(f"the worker is stopping: it {self._ending.value}")
        if self._recorder.blocked:
            problems.append("the ledger does not take this worker's records")
        return problems

    def _registered(self) -> bool:
        """Wait for Postgres; False when asked to stop meanwhile."""
        while self._ending is None:
            try:
                self._on_loop(self._presence.register())
            except ServerUnavailable as error:
                log.warning("%s: waiting for it", error)
                time.sleep(1.0)
            else:
                return True
        return False

    def _watch(self) -> None:
        settings = self._settings
        if self._task_limit and self._holdings.finished >= self._task_limit:
            self.end(Ending.RECYCLE)
        limit_mb = settings.worker_max_memory_mb
        if limit_mb and self._self.memory_info().rss > limit_mb * 2**20:
            self.end(Ending.RECYCLE)
        threads = [*self._dramatiq.workers, *self._dramatiq.consumers.values(), self._loop_thread]
        dead = [thread.name for thread in threads if not thread.is_alive()]
        if dead or any(loop.done() for loop in self._loops):
            log.critical("worker stopping: a background thread died: %s", ", ".join(dead) or "a loop")
            self.end(Ending.BROKEN)

    def _drain(self, intake: "concurrent.futures.Future[None]") -> None:
        """Fetch no more, let running tasks finish, interrupt the rest, write all, give back what is left."""
        self._presence.state = "draining"
        self._holdings.close()
        self._on_loop(self._intake.stop())
        intake.cancel()
        self._intake.give_back(self._holdings.withdraw(), reason="drain")
        self._wait_for_bodies(self._settings.worker_grace.total_seconds())
        for holding in self._holdings.running():
            interrupt(holding)
        self._wait_for_bodies(INTERRUPT_S)
        flushed = self._on_loop(self._recorder.flush(FLUSH_S))
        stuck = self._holdings.running()
        if stuck:
            log.warning("%d tasks do not heed the interrupt: they end with this process", len(stuck))
            self.bequeathed = [self._overtime.last_will(holding) for holding in stuck]
        elif not flushed or len(self._holdings):
            log.warning("not everything could be written: the rescuer takes %d tasks", len(self._holdings))
        else:
            self._deregister()

    def _wait_for_bodies(self, seconds: float) -> None:
        """Until all have ended but those that heed no interrupt."""
        deadline = time.monotonic() + seconds
        while any(self._overtime.may_end(holding) for holding in self._holdings.running()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def _deregister(self) -> None:
        try:
            self._on_loop(self._presence.deregister())
        except ServerUnavailable as error:
            log.warning("%s: the rescuer cleans up after this worker", error)

    def _revoke(self, holding: Holding) -> None:
        """Cancelled before a thread began it."""
        self._recorder.note_end(holding, Outcome(Status.REVOKED, failures=holding.failures))

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _keep(
        self, name: str, run_once: Callable[[], Awaitable[object]], *, every_s: float = 0.0
    ) -> "concurrent.futures.Future[None]":
        """Run a loop on the ledger loop for as long as the process lives."""
        kept = self.keeper.keep(name, run_once, every_s=every_s)
        loop = asyncio.run_coroutine_threadsafe(kept, self._loop)
        self._loops.append(loop)
        return loop

    async def _reconcile(self) -> None:
        """Compare while no id is on its way; while Postgres is away one always is, so skip that round."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONCILE_S):
                await self._intake.moving.acquire()
            try:
                await self._presence.reconcile()
            finally:
                self._intake.moving.release()
