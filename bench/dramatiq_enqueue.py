"""`python -m bench.dramatiq_enqueue COUNT`: measures how many seconds Dramatiq needs to enqueue
COUNT messages one by one.

Dramatiq cannot enqueue many at once. The program uses the Redis in REDIS_URL, and removes its keys
afterwards.
"""

import os
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker


def main() -> None:
    count = int(sys.argv[1])
    broker = RedisBroker(url=os.environ["REDIS_URL"])  # type: ignore[no-untyped-call]
    dramatiq.set_broker(broker)

    @dramatiq.actor
    def nothing() -> None:
        """The Dramatiq actor to which the messages are sent. No worker runs it."""

    nothing.send()  # warm-up: opens the connection and loads the Lua script before the measurement
    begun = time.monotonic()
    for _ in range(count):
        nothing.send()
    sys.stdout.write(f"{time.monotonic() - begun}")
    broker.flush_all()


if __name__ == "__main__":
    main()
