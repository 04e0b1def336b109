"""Queues Celery workflows: `python -m bench.peers.celery.flows chains COUNT STEPS`, or `… flows
chord MEMBERS`.
"""

import gc
import sys

from celery import chain, chord

from bench.peers.celery.app import gather, noop


def chains(count: int, steps: int) -> None:
    for _ in range(count):
        chain(*[noop.si() for _ in range(steps)]).apply_async()


def chord_of(members: int) -> None:
    chord([noop.si() for _ in range(members)])(gather.s())


if __name__ == "__main__":
    {"chains": chains, "chord": chord_of}[sys.argv[1]](*map(int, sys.argv[2:]))
    # Garbage-collects the Celery results now. Each result unsubscribes from Redis when it is
    # collected, which would fail during the interpreter's exit.
    gc.collect()
