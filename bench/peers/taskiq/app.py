"""The Taskiq application that is measured: Redis lists as its broker, and no result backend.

This broker is Taskiq's fastest. It acknowledges nothing, so a crash loses tasks.
"""

import os

from taskiq_redis import ListQueueBroker

from bench import tally

broker = ListQueueBroker(os.environ["BENCH_REDIS_URL"], socket_timeout=None)


@broker.task
async def noop() -> None:
    tally.began()
    tally.ended()
