"""Ends the process when one C call keeps the interpreter for itself: no other limit could be kept then."""

import faulthandler
import sys
import time

#: How often the timer is wound up; each winding starts a thread.
WIND_S = 5.0


class Watchdog:
    """Waits in a thread that needs no interpreter; writes every stack to standard error before it exits."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._wound = 0.0

    def feed(self) -> None:
        """Python runs; call this more often than the limit."""
        now = time.monotonic()
        if now - self._wound >= WIND_S:
            self._wound = now
            faulthandler.dump_traceback_later(self._limit_s, exit=True, file=sys.stderr)

    def rest(self) -> None:
        """The process ends by itself now."""
        faulthandler.cancel_dump_traceback_later()
