"""What a task of ours does here, too."""

import os
import time

from bench import tally

#: How long it sleeps.
SECONDS = float(os.environ.get("BENCH_SECONDS", "0"))


def work() -> None:
    tally.began()
    if SECONDS:
        time.sleep(SECONDS)
    tally.ended()
