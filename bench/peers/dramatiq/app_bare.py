"""As `app`, without any middleware: faster, but nothing is tried again, limited in time or aged out."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.dramatiq.body import work

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"], middleware=[]))


@dramatiq.actor
def noop() -> None:
    work()
