"""Runs one task's body in the thread that Dramatiq gives it."""

import contextvars
import ctypes
import inspect
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dramatiq.asyncio import get_event_loop_thread
from dramatiq.threading import Interrupt, raise_thread_exception

from services.worker.claims.claim import Attempt
from services.worker.registry import TaskFunction
from services.worker.running.context import Context, Means
from shared.contracts.context import TaskContext
from shared.telemetry.redaction import redacting


class Executor:
    """The function behind every Dramatiq actor of this process."""

    def __init__(
        self,
        tasks: Mapping[str, TaskFunction[Any, Any]],
        means: Means,
    ) -> None:
        self._tasks = tasks
        self._means = means

    def __call__(self, attempt: Attempt) -> None:
        """Run the body and keep what it returns on the attempt; Dramatiq would only warn about it."""
        with attempt.slot:
            attempt.thread = threading.get_ident()
        try:
            returned = self._run(attempt)
            # complete_in has set it already where the body used that.
            attempt.returned = returned if returned is not None else attempt.returned
        finally:
            with attempt.slot:
                attempt.thread = None
                if attempt.interrupt_pending:
                    _clear_interrupt(threading.get_ident())

    def _run(self, attempt: Attempt) -> Any:
        task = self._tasks[attempt.name]
        params, attempt.secrets = self._means.vault.open_params(
            task.contract, attempt.claim.params, attempt.claim.contract_version
        )
        context = Context(attempt, task.contract, self._means)
        attempt.context = context
        around = task.hooks.around or _nothing_around

        def call() -> Any:
            with redacting(attempt.secrets):
                if inspect.iscoroutinefunction(task.function):
                    return task(context, params)
                with around(context, params):
                    return task(context, params)

        # A context of its own: what a body leaves in context variables must not reach the thread's next task.
        called = contextvars.copy_context().run(call)
        if not inspect.iscoroutine(called):
            return called
        with around(context, params):
            return _wait_on_loop(called, attempt.secrets)


def _nothing_around(_context: TaskContext, _params: Any) -> AbstractContextManager[None]:
    return nullcontext()


def interrupt(attempt: Attempt) -> bool:
    """Raise Interrupt in the body, unless it has ended: at its next bytecode, or at its next await."""
    with attempt.slot:
        if attempt.thread is None:
            return False
        attempt.interrupt_pending = True
        raise_thread_exception(attempt.thread, Interrupt)  # type: ignore[no-untyped-call] # Dramatiq's
        return True


def _clear_interrupt(thread: int) -> None:
    """Drop an exception that was set but not yet raised; the slot is held, so no new one can follow."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


def _wait_on_loop(body: Coroutine[Any, Any, Any], secrets: Sequence[str]) -> Any:
    """Run an async body on Dramatiq's event loop. Returns or raises only when the body really has ended."""
    loop = get_event_loop_thread()
    if loop is None:
        raise RuntimeError("the event loop thread is not running; the AsyncIO middleware starts it")
    ended = threading.Event()

    async def watched() -> Any:
        try:
            with redacting(secrets):
                return await body
        finally:
            ended.set()

    try:
        return loop.run_coroutine(watched())
    except BaseException:
        # Dramatiq stops waiting for a cancelled body after a second; no outcome may be written before its
        # end.
        ended.wait()
        raise
