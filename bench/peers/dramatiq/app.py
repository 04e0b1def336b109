"""Dramatiq over its own Redis broker, with its default middleware; it records nothing."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench import tally

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"]))


#: How long a body sleeps.
SECONDS = float(os.environ.get("BENCH_SECONDS", "0"))


@dramatiq.actor
def noop() -> None:
    tally.began()
    if SECONDS:
        time.sleep(SECONDS)
    tally.ended()
