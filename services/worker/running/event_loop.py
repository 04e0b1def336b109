"""The loop on which async bodies run, with the database pool that their queries use."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import AsyncIO
from dramatiq.threading import Interrupt

from shared.ledger.database import Database

T = TypeVar("T")

log = logging.getLogger(__name__)

#: An interrupt is raised between two bytecodes, so a waiting thread wakes this often to meet it.
INTERRUPT_POLL_S = 0.1


class LoopThread(EventLoopThread):
    """Dramatiq's loop thread, which nothing that a body does can end.

    asyncio lets SystemExit and KeyboardInterrupt out of the loop, and any body can stop the loop.
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
            log.exception("a coroutine tried to end the event loop of async bodies; the loop continues")

    def stop(self) -> None:
        self._ending = True
        super().stop()  # type: ignore[no-untyped-call] # Dramatiq leaves it untyped


class EventLoop(AsyncIO):
    """Starts and stops the loop's thread, and the pool that belongs to it."""

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
    """Run a coroutine on the loop of async bodies, from another thread, as a task called `name`.

    Returns or raises only once it has really ended, because no outcome may be written before that. An
    interrupt of the calling thread cancels the coroutine.
    """
    thread = get_event_loop_thread()
    if thread is None:
        work.close()
        raise RuntimeError("the event loop thread is not running; the EventLoop middleware starts it")
    # A Future would ask an exception for its truth value, and `__bool__` may raise.
    ended = threading.Event()
    returned: list[T] = []
    raised: list[BaseException] = []
    running: list[asyncio.Task[None]] = []

    async def watched() -> None:
        try:
            returned.append(await work)
        except BaseException as error:  # noqa: BLE001 - it is raised in the calling thread
            raised.append(error)

    def end(_task: "asyncio.Task[None]") -> None:
        if not (returned or raised):  # canceled before its first step
            work.close()
            raised.append(asyncio.CancelledError())
        ended.set()

    def start() -> None:
        running.append(thread.loop.create_task(watched(), name=name))
        running[0].add_done_callback(end)

    thread.loop.call_soon_threadsafe(start)
    try:
        while not ended.wait(INTERRUPT_POLL_S):
            pass
    except Interrupt:
        thread.loop.call_soon_threadsafe(lambda: running[0].cancel())
        ended.wait()
        raise
    if raised:
        raise raised.pop()
    return returned[0]
