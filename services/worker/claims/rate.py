"""Measures how many tasks per second a worker finishes, which decides how many it claims ahead."""

import time


class Rate:
    """Rate of finished tasks, measured over windows of 50 ms or 32 tasks.

    The windows are short, so that the rate rises quickly when a queue fills up.
    """

    def __init__(self) -> None:
        self._at, self._count, self._rate = time.monotonic(), 0, 0.0

    def update(self, count: int) -> float:
        now = time.monotonic()
        if now - self._at >= 0.05 or (count - self._count >= 32 and now > self._at):
            self._rate = (count - self._count) / (now - self._at)
            self._at, self._count = now, count
        return self._rate
