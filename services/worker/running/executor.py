"""Runs one task's body in the thread that Dramatiq gives it."""

import contextvars
import ctypes
import inspect
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from dramatiq.asyncio import get_event_loop_thread
from dramatiq.threading import Interrupt, raise_thread_exception

from services.worker.claims.holdings import Holding
from services.worker.clock import DatabaseClock
from services.worker.recording.recorder import Recorder
from services.worker.registry import TaskFunction
from services.worker.running.context import Context
from shared.telemetry.redaction import redacting
from shared.vault import Vault


class Executor:
    """The function behind every Dramatiq actor of this process."""

    def __init__(
        self,
        tasks: Mapping[str, TaskFunction[Any, Any]],
        recorder: Recorder,
        gateways: Mapping[type, Any],
        clock: DatabaseClock,
        vault: Vault,
    ) -> None:
        self._tasks = tasks
        self._recorder = recorder
        self._gateways = gateways
        self._clock = clock
        self._vault = vault

    def __call__(self, holding: Holding) -> None:
        """Run the body and keep what it returns on the holding; Dramatiq would only warn about it."""
        with holding.slot:
            holding.thread = threading.get_ident()
        try:
            returned = self._run(holding)
            # complete_in has set it already where the body used that.
            holding.returned = returned if returned is not None else holding.returned
        finally:
            with holding.slot:
                holding.thread = None
                if holding.struck:
                    _clear_interrupt(threading.get_ident())

    def _run(self, holding: Holding) -> Any:
        task = self._tasks[holding.name]
        params, holding.secrets = self._vault.open_params(
            task.contract, holding.params, holding.contract_version
        )
        context = Context(holding, task.contract, self._recorder, self._gateways, self._clock, self._vault)

        def call() -> Any:
            with redacting(holding.secrets):
                return task(context, params)

        # A context of its own: what a body leaves in context variables must not reach the thread's next task.
        called = contextvars.copy_context().run(call)
        return _wait_on_loop(called, holding.secrets) if inspect.iscoroutine(called) else called


def interrupt(holding: Holding) -> bool:
    """Raise Interrupt in the body, unless it has ended: at its next bytecode, or at its next await."""
    with holding.slot:
        if holding.thread is None:
            return False
        holding.struck = True
        raise_thread_exception(holding.thread, Interrupt)  # type: ignore[no-untyped-call] # Dramatiq's
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
