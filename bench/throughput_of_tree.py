"""`python -m bench.throughput_of_tree COUNT LOGS`: prints the no-op tasks/s of the tree in which it runs.

The figure `regression` starts it here and in the tagged tree, so how it is called must not change. It takes
DATABASE_URL, of an empty database, and REDIS_URL, of an empty Redis.
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
        # As the tagged tree does it.
        return await ours.drain(platform, NOOP, Nothing(), count, ask_after=0.9)


if __name__ == "__main__":
    print(uvloop.run(measure(int(sys.argv[1]), Path(sys.argv[2]))))
