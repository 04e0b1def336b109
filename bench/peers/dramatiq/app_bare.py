"""The Dramatiq application without any middleware: faster, but without retries, time limits or age
limits.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.dramatiq.body import work

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"], middleware=[]))


@dramatiq.actor
def noop() -> None:
    work()
