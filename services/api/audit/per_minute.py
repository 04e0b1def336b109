"""Bounds what callers can make this process write into the audit log."""

import logging
import time
from collections.abc import Callable, Hashable
from typing import Final

log = logging.getLogger(__name__)

#: Different keys of one minute. 300 rows of some 300 bytes are at most 130 MB a day.
MAX_KEYS: Final = 300


class PerMinute:
    """Lets each key through once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute = 0
        self._seen: set[Hashable] = set()

    def is_new(self, *key: Hashable) -> bool:
        """True when this minute has not seen the key and has room for it."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._seen = minute, set()
        if key in self._seen or len(self._seen) > MAX_KEYS:
            return False
        self._seen.add(key)
        if len(self._seen) > MAX_KEYS:
            log.warning(
                "more than %d callers were refused within a minute; the audit log leaves out the others "
                "until the minute is over",
                MAX_KEYS,
            )
            return False
        return True
