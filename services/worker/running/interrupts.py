"""Interrupts the code of an application that runs for an attempt: its task body or a hook."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dramatiq.threading import Interrupt, raise_thread_exception

from services.worker.claims.claim import Attempt


@contextmanager
def interruptible(attempt: Attempt) -> Iterator[None]:
    """Let `interrupt` reach the code inside this context, and no code after it."""
    with attempt.slot:
        attempt.thread = threading.get_ident()
    try:
        yield
    finally:
        with attempt.slot:
            attempt.thread = None
            if attempt.interrupt_pending:
                _clear_interrupt(threading.get_ident())


def interrupt(attempt: Attempt) -> bool:
    """Raise Interrupt in the task body or the hook, at its next bytecode or its next await.

    Returns False if neither is running.
    """
    with attempt.slot:
        if attempt.thread is None:
            return False
        attempt.interrupt_pending = True
        raise_thread_exception(attempt.thread, Interrupt)  # type: ignore[no-untyped-call] # Dramatiq's
        return True


def _clear_interrupt(thread: int) -> None:
    """Discard an interrupt that was set in the thread but has not been raised yet.

    The caller holds the attempt's `slot`, so that no other interrupt can be set meanwhile.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)
