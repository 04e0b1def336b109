"""Queues DBOS workflows: `python -m bench.peers.dbos.flows chains COUNT STEPS`, or `… flows chord
MEMBERS`.

It creates DBOS' tables first, and applies the queue settings in BENCH_CONCURRENCY and BENCH_POLL_S.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

from bench.peers.dbos.app import JOINS, QUEUE, chain, join, member

#: Number of threads that queue workflows in parallel.
THREADS = 8


def chains(count: int, steps: int) -> None:
    _queue(count, lambda: DBOS.enqueue_workflow(QUEUE, chain, steps))


def chord(members: int) -> None:
    handles = _queue(members, lambda: DBOS.enqueue_workflow(QUEUE, member))
    DBOS.enqueue_workflow(JOINS, join, [handle.get_workflow_id() for handle in handles])


def _queue(count, enqueue):
    with ThreadPoolExecutor(THREADS) as threads:
        return [made.result() for made in [threads.submit(enqueue) for _ in range(count)]]


if __name__ == "__main__":
    DBOS.listen_queues([])  # no queue to listen to: this process only queues workflows and runs none
    DBOS.launch()
    for name in (QUEUE, JOINS):
        DBOS.register_queue(
            name,
            worker_concurrency=int(os.environ["BENCH_CONCURRENCY"]),
            polling_interval_sec=float(os.environ["BENCH_POLL_S"]),
        )
    {"chains": chains, "chord": chord}[sys.argv[1]](*map(int, sys.argv[2:]))
    DBOS.destroy()
