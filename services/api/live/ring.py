"""Keeps the messages of the last minute, for clients that reconnect to the event stream of a list
after a short absence.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from shared.transport.events import TaskChange, decode

KEPT_S = 60.0
#: Limits of the ring: 3 MB of memory, and 2 ms to find the changes that one client missed. A client
#: that missed more must read its list again.
MAX_BYTES = 3 * 2**20
MAX_REPLAYED = 5_000


class _Kept(NamedTuple):
    at: float
    changes: int
    message: bytes


class Ring:
    """The messages of the last minute, numbered from 1. `epoch` identifies the ring, because a
    number is only valid in its own ring.
    """

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        #: Number of the newest message in the ring.
        self.head = 0
        self._kept: deque[_Kept] = deque()
        self._bytes = 0

    def append(self, message: bytes, changes: int) -> None:
        now = time.monotonic()
        self.head += 1
        self._kept.append(_Kept(now, changes, message))
        self._bytes += len(message)
        while self._bytes > MAX_BYTES or self._kept[0].at < now - KEPT_S:
            self._bytes -= len(self._kept.popleft().message)
            if not self._kept:
                break

    @property
    def last_id(self) -> str:
        return f"t{self.epoch}.{self.head}"

    def after(self, last_id: str) -> list[TaskChange] | None:
        """Return the messages after this id. None if some of them are no longer kept, or if they
        are too many.
        """
        epoch, _, number = last_id.removeprefix("t").partition(".")
        if epoch != self.epoch or not number.isdecimal():
            return None
        missed = self.head - int(number)
        if not 0 <= missed <= len(self._kept):
            return None
        kept = list(self._newest(missed))
        if sum(each.changes for each in kept) > MAX_REPLAYED:
            return None
        return [change for each in kept for change in decode(each.message).tasks]

    def _newest(self, count: int) -> Iterator[_Kept]:
        """The newest messages, in the order in which they arrived."""
        first = len(self._kept) - count
        return (each for number, each in enumerate(self._kept) if number >= first)
