"""`python -m bench.dramatiq_enqueue`: seconds that Dramatiq needs to enqueue so many messages, one by one.

It has no way to enqueue many at once. Its Redis is that of REDIS_URL; what it left there is removed.
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
        """What is enqueued; nobody runs it."""

    nothing.send()  # connects, loads the script
    begun = time.monotonic()
    for _ in range(count):
        nothing.send()
    sys.stdout.write(f"{time.monotonic() - begun}")
    broker.flush_all()


if __name__ == "__main__":
    main()
