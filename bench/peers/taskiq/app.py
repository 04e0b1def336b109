"""Taskiq over lists in Redis, without a result backend: its fastest broker, which acknowledges nothing."""

import os

from taskiq_redis import ListQueueBroker

from bench import tally

broker = ListQueueBroker(os.environ["BENCH_REDIS_URL"], socket_timeout=None)


@broker.task
async def noop() -> None:
    tally.began()
    tally.ended()
