"""Sends COUNT tasks to Taskiq one by one: `python -m bench.peers.taskiq.enqueue COUNT`."""

import asyncio
import sys

from bench.peers.taskiq.app import broker, noop


async def enqueue(count: int) -> None:
    await broker.startup()
    for _ in range(count):
        await noop.kiq()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
