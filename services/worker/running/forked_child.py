"""What becomes of a process that a body forks from its worker, with `multiprocessing` for example.

A forked child inherits the worker's sockets and signal handlers. While it lives, Postgres would take a killed
worker for alive and keep its locks, its metrics port would stay taken, and the child would ignore SIGTERM.
"""

import os
import signal
import socket
import stat
from pathlib import Path

#: Lists the open files of the process that looks, on Linux and on macOS.
OPEN_FILES = Path("/dev/fd")


def prepare() -> None:
    """From now on every forked child lets go of what is its worker's. Call this once in a process."""
    os.register_at_fork(after_in_child=let_go)


def let_go() -> None:
    """Drop inherited connections and listening sockets, and restore the signal handlers of a new process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir(OPEN_FILES):
        if _is_connection(int(name)):
            # Closing would free the number for another file, which a stale object might close later.
            os.dup2(null, int(name), inheritable=False)
    os.close(null)


def _is_connection(number: int) -> bool:
    """A socket of a network or with a name; pairs and pipes may belong to the fork itself."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as copy:
            return copy.family != socket.AF_UNIX or bool(copy.getsockname() or copy.getpeername())
    except OSError:
        return False
