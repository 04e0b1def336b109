"""Ends another process when this process ends in any way, even by `kill -9` or a crash."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

#: Shell script that waits until its standard input ends, and then sends a signal. The kernel closes
#: the input when this process, which holds the other end, dies.
WATCH = 'read -r _; kill -"$1" "$2" 2>/dev/null'


@contextmanager
def leashed(pid: int, stop_signal: str) -> Iterator[None]:
    """Send the signal `stop_signal` ("TERM" or "INT") to the process `pid` if this process dies
    inside the context.
    """
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "leash", stop_signal, str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal must not end the watching shell first
    )
    try:
        yield
    finally:
        watcher.kill()
        watcher.communicate()
