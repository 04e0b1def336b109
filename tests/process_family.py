"""A server's process with its children: killed, or stopped where they are."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The process first; nothing once it has ended."""
    if process.poll() is not None:
        return []
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def kill(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of all of them, stopped ones too."""
    members = family(process)
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):  # the first one may have taken its children along
            member.kill()
    psutil.wait_procs(members, timeout=10)
    process.wait(10)


@contextmanager
def frozen(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """All of them stop where they are: the server falls silent, and its connections stay."""
    members = family(process)
    _signal(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(members, signal.SIGCONT)


def _signal(members: list[psutil.Process], number: signal.Signals) -> None:
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):  # a server's children come and go
            member.send_signal(number)
