"""Limits the number of rows that callers can make this process write to the audit log."""

import logging
import time
from collections.abc import Callable, Hashable
from typing import Final

log = logging.getLogger(__name__)

#: Maximum number of events recorded per minute. At 300 rows of about 300 bytes per minute, the
#: audit log grows by at most 130 MB a day.
MAX_KEYS: Final = 300


class PerMinute:
    """Accepts each key once per minute, and at most `MAX_KEYS` keys per minute. A key describes an
    event to record.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute = 0
        self._seen: set[Hashable] = set()

    def is_new(self, *key: Hashable) -> bool:
        """True if the key was not accepted yet in this minute and the limit is not reached, so the
        event may be recorded.
        """
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
