"""The task body for Dramatiq, which does the same as the body of this project's measured task."""

import os
import time

from bench import tally

#: Seconds that the task body sleeps.
SECONDS = float(os.environ.get("BENCH_SECONDS", "0"))


def work() -> None:
    tally.began()
    if SECONDS:
        time.sleep(SECONDS)
    tally.ended()
