"""`python -m tests.faults.claimer N`: a test process that registers as a worker, claims up to N
tasks and keeps its heartbeat, but never starts a task.
"""

import asyncio
import os
import sys
from uuid import uuid4

from services.worker.claims.heartbeat import HEARTBEAT_S, Heartbeat
from shared.keeper import Keeper
from shared.ledger.database import Database
from shared.ledger.transitions.send import CLAIM
from shared.transport.queues import Queues, connect


async def claim(count: int) -> None:
    database = Database.for_recorder(os.environ["DATABASE_URL"], "claimer")
    await database.open(size=2)
    queues = Queues(connect(os.environ["REDIS_URL"]))
    worker = uuid4()
    heartbeat = Heartbeat(
        worker,
        database,
        ["default"],
        8,
        declared_dead=lambda: sys.exit(1),
        told=lambda paused, asked: None,
    )
    await heartbeat.register()
    fetched = None
    while fetched is None or not fetched.ids:
        fetched = await queues.fetch(worker, ["default"], wanted=count, served=0, idle=True, wait_s=1.0)
    await database.run(CLAIM, worker=worker, id=sorted(fetched.ids))
    await Keeper().keep("heartbeat", heartbeat.beat, every_s=HEARTBEAT_S)


if __name__ == "__main__":
    asyncio.run(claim(int(sys.argv[1])))
