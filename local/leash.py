"""Ends a process when this one ends, however it ends: `kill -9` and a crash included."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

#: Waits for the end of its standard input, which the kernel closes with the process that holds the other end.
WATCH = 'read -r _; kill -"$1" "$2" 2>/dev/null'


@contextmanager
def leashed(pid: int, stop_signal: str) -> Iterator[None]:
    """Send `stop_signal` (TERM, INT) to `pid` should this process die inside the block."""
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "leash", stop_signal, str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C on the terminal must not end the watcher first
    )
    try:
        yield
    finally:
        watcher.kill()
        watcher.communicate()
