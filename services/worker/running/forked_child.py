"""Cleans up a process that a task body forks from its worker, for example with `multiprocessing`.

A forked child inherits the sockets and signal handlers of the worker. As long as the child lived,
Postgres would treat a killed worker as alive and keep its locks, the worker's metrics port would
stay in use, and the child would ignore SIGTERM.
"""

import os
import signal
import socket
import stat
from pathlib import Path

#: Directory that lists the open files of the current process, on Linux and on macOS.
OPEN_FILES = Path("/dev/fd")


def prepare() -> None:
    """Make every later forked child release its worker's resources. Call this once per process."""
    os.register_at_fork(after_in_child=let_go)


def let_go() -> None:
    """Disconnect a forked child from its worker, and restore the default signal handlers."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir(OPEN_FILES):
        if _is_connection(int(name)):
            # The descriptor is redirected to /dev/null instead of closed. If it were closed, the
            # next opened file could get the same number, and an inherited socket object could close
            # that file by mistake.
            os.dup2(null, int(name), inheritable=False)
    os.close(null)


def _is_connection(number: int) -> bool:
    """True if the file descriptor is a network socket or a named Unix socket.

    Unnamed socket pairs and pipes are excluded, because they may belong to the fork itself.
    """
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as copy:
            return copy.family != socket.AF_UNIX or bool(copy.getsockname() or copy.getpeername())
    except OSError:
        return False
