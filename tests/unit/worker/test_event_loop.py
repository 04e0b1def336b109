"""Tests of the event loop of async bodies: no error ends it, and an attempt is over only when its
coroutine has ended.
"""

import asyncio
import inspect
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from dramatiq.asyncio import set_event_loop_thread
from dramatiq.threading import Interrupt, raise_thread_exception

from services.worker.running import event_loop
from services.worker.running.event_loop import LoopThread

LIMIT_S = 30


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    thread.start(timeout=LIMIT_S)
    set_event_loop_thread(thread)
    yield thread
    thread.stop()
    set_event_loop_thread(None)
    assert not thread.is_alive()


class Caller(threading.Thread):
    """A thread that runs a coroutine on the event loop of bodies, and keeps the error that it
    raises.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__()
        self._work = work
        self.raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            event_loop.run(self._work(), name="test")
        except BaseException as error:  # noqa: BLE001 - that is what it is for
            self.raised = error

    def waits_at(self, before: int | None) -> int:
        """Wait until the thread is blocked in `event_loop.run`, at another line than `before`.

        Returns the line's number.
        """
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            frame = sys._current_frames().get(self.ident or 0)
            while frame is not None:
                if frame.f_code is event_loop.run.__code__ and frame.f_lineno != before and self._waits():
                    return frame.f_lineno
                frame = frame.f_back
            time.sleep(0.001)
        raise AssertionError("it does not wait")

    def _waits(self) -> bool:
        frame = sys._current_frames().get(self.ident or 0)
        return frame is not None and frame.f_code.co_name == "wait"

    def interrupt(self) -> None:
        raise_thread_exception(self.ident, Interrupt)  # type: ignore[no-untyped-call] # Dramatiq's


async def seven() -> int:
    return 7


def test_an_interrupt_is_raised_only_once_the_body_has_cleaned_up(loop: LoopThread) -> None:
    began, ended = threading.Event(), threading.Event()

    async def body() -> None:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            # The body's cleanup takes longer than Dramatiq's own event loop thread would wait for
            # it.
            await asyncio.sleep(1.5)
            ended.set()

    caller = Caller(body)
    assert began.wait(LIMIT_S)
    caller.interrupt()
    caller.join(LIMIT_S)
    assert isinstance(caller.raised, Interrupt)
    assert ended.is_set()


def test_a_body_that_is_interrupted_before_its_first_step_never_begins(loop: LoopThread) -> None:
    free, began = threading.Event(), threading.Event()
    loop.loop.call_soon_threadsafe(free.wait)

    async def body() -> None:
        began.set()

    caller = Caller(body)
    waiting_at = caller.waits_at(None)
    caller.interrupt()
    caller.waits_at(waiting_at)
    free.set()
    caller.join(LIMIT_S)
    assert isinstance(caller.raised, Interrupt)
    assert not began.is_set()
    assert event_loop.run(seven(), name="next") == 7


@pytest.mark.parametrize("handed_over", [False, True])
def test_an_interrupt_while_the_body_is_handed_over_leaves_nothing_running(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    hand_over, hits = loop.loop.call_soon_threadsafe, iter([True])
    began, ended = threading.Event(), threading.Event()

    def interrupted(callback: Callable[[], None]) -> None:
        hit = next(hits, False)
        if handed_over or not hit:
            hand_over(callback)
        if hit:
            if handed_over:
                assert began.wait(LIMIT_S)
            raise Interrupt

    async def body() -> None:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    monkeypatch.setattr(loop.loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(Interrupt):
        event_loop.run(body(), name="test")
    assert (began.is_set(), ended.is_set()) == (handed_over, handed_over)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_the_loop_goes_on_after_a_callback_that_raises(loop: LoopThread, error: BaseException) -> None:
    def leave() -> None:
        raise error

    loop.loop.call_soon_threadsafe(leave)
    loop.loop.call_soon_threadsafe(loop.loop.stop)
    assert event_loop.run(seven(), name="next") == 7


def test_a_coroutine_without_a_loop_is_refused_and_closed() -> None:
    work = seven()
    with pytest.raises(RuntimeError, match="the event loop thread is not running"):
        event_loop.run(work, name="test")
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
