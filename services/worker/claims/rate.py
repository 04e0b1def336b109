"""How fast the tasks of this worker end, which says how many to claim ahead."""

import time


class Rate:
    """Tasks ended per second, over windows of 50 ms or 32 tasks: a queue that fills up is soon known."""

    def __init__(self) -> None:
        self._at, self._count, self._rate = time.monotonic(), 0, 0.0

    def update(self, count: int) -> float:
        now = time.monotonic()
        if now - self._at >= 0.05 or (count - self._count >= 32 and now > self._at):
            self._rate = (count - self._count) / (now - self._at)
            self._at, self._count = now, count
        return self._rate
