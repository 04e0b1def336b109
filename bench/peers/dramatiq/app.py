"""The Dramatiq application that is measured, with its own Redis broker and its default middleware.
It records nothing.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.dramatiq.body import work

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"]))


@dramatiq.actor
def noop() -> None:
    work()
