"""Sends tasks to Dramatiq one by one, and prints how many seconds that took: `python -m
bench.peers.dramatiq.enqueue COUNT`.
"""

import sys
import time

from bench.peers.dramatiq.app import noop

if __name__ == "__main__":
    begun = time.perf_counter()
    for _ in range(int(sys.argv[1])):
        noop.send()
    print(time.perf_counter() - begun)
