"""`python -m bench.bare_loop COUNT`: the body of 10 ms so often, in as many threads as a worker has."""

import itertools
import sys
import threading

from bench.tasks import sleep_briefly
from shared.settings import Settings


def loop(numbers: "itertools.count[int]", count: int) -> None:
    while next(numbers) < count:
        sleep_briefly()


def main(count: int) -> None:
    """Stays until it is ended: its tally is told by a thread."""
    numbers = itertools.count()
    for _ in range(Settings().worker_threads):
        threading.Thread(target=loop, args=(numbers, count)).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
