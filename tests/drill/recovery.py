"""Measures how long the system takes to recover from a fault: until every unfinished task is on its
way to a worker again.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from redis.exceptions import RedisError

from shared.transport.keys import PRIORITIES, lane_key, rescue_key
from tests.drill.database import PASSING
from tests.platform import Platform

POLL_S = 0.2
#: Seconds for which no problem must be seen before the system counts as recovered. It is longer
#: than 3 s, for which the lease of a dead leader still looks valid.
STABLE_S = 5.0

#: SQL that counts tasks held by a worker that has ended or was declared dead. Its parameter is the
#: process ids of the live workers.
ORPHANS = """
    SELECT count(*) AS n FROM task AS t LEFT JOIN worker AS w ON w.id = t.holder
    WHERE t.holder IS NOT NULL AND (
        w.dead_at IS NOT NULL OR w.stopped_at IS NOT NULL OR NOT w.pid = ANY({}::integer[])
        OR EXISTS (SELECT 1 FROM worker AS later WHERE later.pid = w.pid AND later.started_at > w.started_at)
    )
"""
#: SQL that counts tasks that should have been sent more than a second ago. The dispatcher looks for
#: due tasks four times a second.
OVERDUE = "SELECT count(*) AS n FROM task WHERE send_at < now() - interval '1 second'"
ALIVE = "SELECT id FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL AND pid = ANY({}::integer[])"
SENT = "SELECT id, claim, queue FROM task WHERE sent_at IS NOT NULL"


@dataclass(frozen=True)
class Recovery:
    """Measured recovery: the time until a scheduler was the leader and no task was overdue, held by
    a dead worker, or missing in Redis.
    """

    seconds: float
    #: The last problem that was seen before the system had recovered. Empty if there was none.
    last: str = ""

    def __str__(self) -> str:
        return f"{self.seconds:.1f}{f' ({self.last})' if self.last else ''}"


async def recovered(platform: Platform, live: Callable[[], list[int]], *, limit_s: float) -> Recovery:
    """Wait until the system has recovered, for at most `limit_s` seconds, and return how long it
    took from now.
    """
    began = since = time.monotonic()
    last = ""
    while time.monotonic() < began + limit_s:
        problem = await _problem(platform, live())
        if problem is not None:
            since, last = time.monotonic(), problem
        elif time.monotonic() > since + STABLE_S:
            break
        await asyncio.sleep(POLL_S)
    return Recovery(since - began, last)


async def _problem(platform: Platform, live: list[int]) -> str | None:
    try:
        if not await platform.has_leader():
            return "no leader"
        if not await platform.has_settled():
            return "Redis is being refilled"
        for name, sql, values in (("orphans", ORPHANS, [live]), ("overdue", OVERDUE, [])):
            if (await platform.rows(sql, *values))[0]["n"]:
                return name
        return "ids are missing" if await _missing(platform, live) else None
    except (*PASSING, RedisError) as error:
        return str(error)


async def _missing(platform: Platform, live: list[int]) -> bool:
    """Whether ids of sent tasks are missing in Redis. They count as missing only if two checks find
    them missing, because ids can move while Postgres and Redis are being read.
    """
    missing = await _look(platform, live)
    return bool(missing and missing & await _look(platform, live))


async def _look(platform: Platform, live: list[int]) -> set[tuple[UUID, int]]:
    sent = {(UUID(int=r["id"].int), r["claim"]): r["queue"] for r in await platform.rows(SENT)}
    client = platform.queues.client
    there: set[bytes | str] = set()
    for queue in set(sent.values()):
        for key in (rescue_key(queue), *(lane_key(queue, p) for p in PRIORITIES)):
            there.update(await client.lrange(key, 0, -1))
    for row in await platform.rows(ALIVE, live):
        there.update(i.bytes for i in await platform.queues.unacked(UUID(int=row["id"].int)))
    return {entry for entry in sent if entry[0].bytes not in there}
