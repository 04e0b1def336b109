"""`python -m bench.throughput_of_tree COUNT LOGS`: prints the no-op tasks/s of the source tree in
which it runs.

The benchmark `regression` starts it in this source tree and in that of an older commit, the
baseline, so its command line must not change. It uses an empty database in DATABASE_URL, and an
empty Redis in REDIS_URL.
"""

import os
import sys
from pathlib import Path

import uvloop

from bench import ours
from bench.stage import migrate
from bench.tasks import NOOP, Nothing
from tests.platform import Platform


async def measure(count: int, logs: Path) -> float:
    database_url = os.environ["DATABASE_URL"]
    migrate(database_url)
    async with Platform(database_url, os.environ["REDIS_URL"], logs) as platform:
        await ours.start_scheduler(platform)
        # The same program in the baseline's source tree uses this value of `ask_after` too, so both
        # are measured alike.
        return await ours.drain(platform, NOOP, Nothing(), count, ask_after=0.9)


if __name__ == "__main__":
    print(uvloop.run(measure(int(sys.argv[1]), Path(sys.argv[2]))))
