"""`python -m bench.peers.procrastinate.enqueue COUNT`: creates the tables, and then enqueues all
jobs in batches.
"""

import asyncio
import sys

from bench.peers.procrastinate.app import app, noop

BATCH = 1_000


async def enqueue(count: int) -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, count, BATCH):
            await noop.batch_defer_async(*[{}] * min(BATCH, count - start))


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
