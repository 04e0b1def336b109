"""The event loop on which async task bodies run, and the database pool for their queries."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import AsyncIO
from dramatiq.threading import Interrupt

from shared.ledger.database import Database

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Interval in seconds at which a waiting thread runs Python code. An interrupt can be raised only
#: then, because it takes effect between two bytecodes.
INTERRUPT_POLL_S = 0.1


class LoopThread(EventLoopThread):
    """Dramatiq's thread for an event loop, changed so that no task body can stop the loop.

    asyncio passes SystemExit and KeyboardInterrupt of a coroutine on to the caller of the loop, and
    any task body can call `stop` on the loop. After each, the loop is run again.
    """

    def __init__(self) -> None:
        super().__init__(logging.getLogger("dramatiq.asyncio"))
        self._ending = False

    def run(self) -> None:
        try:
            while not self._ending:
                self._run_loop()
        finally:
            self.loop.close()

    def _run_loop(self) -> None:
        try:
            self.loop.run_forever()
        except BaseException:
            log.exception("a task body tried to end the event loop of async task bodies; it continues")

    def stop(self) -> None:
        self._ending = True
        super().stop()  # type: ignore[no-untyped-call] # Dramatiq leaves it untyped


class EventLoop(AsyncIO):
    """Dramatiq middleware that starts and stops the event loop's thread and its database pool."""

    def __init__(self, database: Database, *, pool_size: int) -> None:
        super().__init__()
        self._database = database
        self._pool_size = pool_size

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        thread = LoopThread()
        thread.start(timeout=1.0)
        set_event_loop_thread(thread)
        thread.run_coroutine(self._database.open(size=self._pool_size))

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        thread = get_event_loop_thread()
        assert thread is not None
        thread.run_coroutine(self._database.close())
        super().after_worker_shutdown(broker, worker)  # type: ignore[no-untyped-call] # Dramatiq leaves it untyped


def run(work: Coroutine[Any, Any, T], *, name: str) -> T:
    """Run a coroutine on the event loop of task bodies, from another thread, and return its result.

    It runs as an asyncio task called `name`. This function ends only after the coroutine has really
    ended, because the outcome of the task must not be written earlier. If the calling thread is
    interrupted, the coroutine is canceled.
    """
    thread = get_event_loop_thread()
    if thread is None:
        work.close()
        raise RuntimeError("the event loop thread is not running; the EventLoop middleware starts it")
    call = _Call(work, name, thread.loop)
    # From here on, the task body may be running. An interrupt must not leave this block before the
    # body has ended.
    try:
        thread.loop.call_soon_threadsafe(call.start)
        while not call.ended.wait(INTERRUPT_POLL_S):
            pass
    except Interrupt:
        thread.loop.call_soon_threadsafe(call.stop)
        call.ended.wait()
        raise
    if call.raised:
        raise call.raised.pop()
    return call.returned[0]


class _Call(Generic[T]):
    """A coroutine on the event loop for whose end another thread waits.

    `start` and `stop` run on the loop. It is not a Future, because a Future evaluates an exception
    as a boolean, and the `__bool__` of an exception may raise.
    """

    def __init__(self, work: Coroutine[Any, Any, T], name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = threading.Event()
        self.returned: list[T] = []
        self.raised: list[BaseException] = []
        self._work = work
        self._name = name
        self._loop = loop
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self._loop.create_task(self._watched(), name=self._name)
        self._task.add_done_callback(self._end)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # The thread was interrupted before the loop started the coroutine
            self._end(None)

    async def _watched(self) -> None:
        try:
            self.returned.append(await self._work)
        except BaseException as error:  # noqa: BLE001 - it is raised in the calling thread
            self.raised.append(error)

    def _end(self, _: "asyncio.Task[None] | None") -> None:
        if not (self.returned or self.raised):  # The coroutine was canceled before its first step
            self._work.close()
            self.raised.append(asyncio.CancelledError())
        self.ended.set()
