"""Ends the worker process if C code never releases Python's global interpreter lock, or if its drain
never ends.

No other limit works while no Python code can run.
"""

import faulthandler
import sys
import time

#: Minimum interval between two resets of the watchdog's timer, because each reset starts a thread.
WIND_S = 5.0


class Watchdog:
    """Exits the process if `feed` is not called for too long.

    The timer runs in a C thread, which needs no interpreter lock. Before it exits the process, it
    writes the stacks of all threads to standard error.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._wound = 0.0

    def feed(self) -> None:
        """Reset the timer to show that Python code still runs.

        Call this more often than the limit.
        """
        now = time.monotonic()
        if now - self._wound >= WIND_S:
            self._wound = now
            faulthandler.dump_traceback_later(self._limit_s, exit=True, file=sys.stderr)

    def end_within(self, limit_s: float) -> None:
        """Exit the process after `limit_s`, whatever happens, because it is about to end."""
        faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.stderr)
