"""`python -m bench.peers.celery.pick_up COUNT`: measures how long an idle Celery worker takes to
begin a task.

Each task reports its start to this program, which prints the delays as a JSON list of seconds.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from bench import doorbell
from bench.peers.celery.app import ring

#: Range of the random pause between two tasks in seconds. The pause lets the worker become idle
#: again, and its randomness prevents a rhythm.
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
        # Warm-up: the first tasks wait until the worker has started and has opened its connections.
        for number in range(20):
            sample(bell, number)
        print(json.dumps([sample(bell, number) for number in range(int(sys.argv[1]))]))
