"""As `app`, without the middleware that a body which only returns can do without: it is faster so."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench import tally

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"], middleware=[]))


# An actor's default options belong to middleware that is not here.
@dramatiq.actor
def noop() -> None:
    tally.began()
    tally.ended()
