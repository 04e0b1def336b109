"""`python -m bench.peers.procrastinate.work CONCURRENCY`: runs a Procrastinate worker on uvloop,
which the official command does not use.
"""

import asyncio
import sys

import uvloop

from bench.peers.procrastinate.app import app


async def work(concurrency: int) -> None:
    async with app.open_async():
        await app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(work(int(sys.argv[1])))
