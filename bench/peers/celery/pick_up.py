"""`python -m bench.peers.celery.pick_up COUNT`: how long until an idle worker begins a task.

Listens at the doorbell itself; prints a JSON list of seconds.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from bench import doorbell
from bench.peers.celery.app import ring

#: Seconds between two tasks, at random within: the worker is idle again, and no rhythm arises.
PAUSES_S = (0.005, 0.015)


def sample(bell: doorbell.Doorbell, token: int) -> float:
    time.sleep(random.uniform(*PAUSES_S))
    submitted = time.time()
    ring.delay(token)
    heard, began = bell.wait()
    assert heard == token
    return began - submitted


if __name__ == "__main__":
    with doorbell.Doorbell(Path(os.environ[doorbell.VARIABLE])) as bell:
        # The first ones wait for the worker's start and open connections.
        for number in range(20):
            sample(bell, number)
        print(json.dumps([sample(bell, number) for number in range(int(sys.argv[1]))]))
