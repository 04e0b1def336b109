"""Helpers for tests that kill or freeze a server's process together with its child processes."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The process and all its descendants, the process first.

    Returns an empty list if it has ended.
    """
    if process.poll() is not None:
        return []
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and its descendants with SIGKILL, which works even on stopped ones."""
    members = family(process)
    for member in members:
        # The child may have ended already, because its parent was killed before it.
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(members, timeout=10)
    process.wait(10)


@contextmanager
def frozen(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Stop the process and its descendants inside this context.

    The server does not answer, but its connections stay open.
    """
    members = family(process)
    _signal(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(members, signal.SIGCONT)


def _signal(members: list[psutil.Process], number: signal.Signals) -> None:
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):  # a server starts and ends children at any time
            member.send_signal(number)
