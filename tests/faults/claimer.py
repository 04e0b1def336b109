"""`python -m tests.faults.claimer N`: a process that claims up to N tasks, lives, and never starts one."""

import asyncio
import os
import sys
from uuid import uuid4

from services.worker.claims.heartbeat import HEARTBEAT_S, Presence
from services.worker.claims.holdings import Holdings
from services.worker.clock import DatabaseClock
from shared.keeper import Keeper
from shared.ledger import engine, statements
from shared.ledger.engine import RECORDER
from shared.transport.queues import Queues, connect


async def claim(count: int) -> None:
    url = os.environ["DATABASE_URL"]
    database = engine.build(url, application="claimer", nodes=[RECORDER])
    engine.bind(database)
    await engine.open_pool(database.extra_nodes[RECORDER], size=2)
    queues = Queues(connect(os.environ["REDIS_URL"]))
    worker = uuid4()
    presence = Presence(
        worker,
        url,
        ["default"],
        Holdings(8),
        queues,
        DatabaseClock(),
        declared_dead=lambda: sys.exit(1),
        revoke=lambda holding: None,
    )
    await presence.register()
    fetched = None
    while fetched is None or not fetched.ids:
        fetched = await queues.fetch(worker, ["default"], wanted=count, served=0, idle=True, wait_s=1.0)
    await engine.run(statements.CLAIM, worker, sorted(fetched.ids), node=RECORDER)
    await Keeper().keep("heartbeat", presence.beat, every_s=HEARTBEAT_S)


if __name__ == "__main__":
    asyncio.run(claim(int(sys.argv[1])))
