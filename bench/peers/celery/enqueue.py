"""Sends COUNT tasks to Celery one by one over one connection: `python -m bench.peers.celery.enqueue
COUNT`.
"""

import sys

from bench.peers.celery.app import app, noop

if __name__ == "__main__":
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for _ in range(int(sys.argv[1])):
            noop.apply_async(producer=producer)
