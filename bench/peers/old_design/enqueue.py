"""`python -m bench.peers.old_design.enqueue COUNT`: creates the table, then sends each task and
adds its row.
"""

import asyncio
import sys

from tortoise import Tortoise

from bench.peers.old_design.app import TORTOISE_ORM, TaskRow, noop


async def enqueue(count: int) -> None:
    await Tortoise.init(config=TORTOISE_ORM)
    await Tortoise.generate_schemas()
    for _ in range(count):
        sent = noop.delay()
        await TaskRow.create(
            task_id=sent.id, task_name="noop", task_type="bench", task_args=[], queue_name="celery"
        )
    await Tortoise.close_connections()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
