"""`python -m bench.bare_loop COUNT`: runs the 10 ms task body COUNT times without any task system,
in as many threads as a worker has.
"""

import itertools
import sys
import threading

from bench.tasks import sleep_briefly
from shared.settings import Settings


def loop(numbers: "itertools.count[int]", count: int) -> None:
    while next(numbers) < count:
        sleep_briefly()


def main(count: int) -> None:
    """Run the loops, then keep the process alive until it is killed, because a background thread
    still writes the number of finished bodies to a file.
    """
    numbers = itertools.count()
    for _ in range(Settings().worker_threads):
        threading.Thread(target=loop, args=(numbers, count)).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
