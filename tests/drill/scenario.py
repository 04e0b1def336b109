"""One fault under load, and what it cost."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from shared.errors import ServerAway
from tests.drill import ledger, load
from tests.drill.crew import Crew
from tests.drill.faults import Fault
from tests.drill.recovery import Recovery, recovered
from tests.drill.servers import Servers
from tests.eventually import eventually
from tests.platform import ROOT, Platform

#: A fault begins when so many tasks have ended.
BEGIN_AFTER = 500
#: What is not final so long after the fault and the last submission is stuck; the busy task and what lies in
#: its process get more.
STUCK_S, SPIN_STUCK_S = 30.0, 120.0
#: Recovery may take so many times what the design promises: the machine is shared.
PATIENCE = 3
POLL_S = 0.1


@dataclass(frozen=True)
class Report:
    """What a fault cost."""

    fault: Fault
    in_flight: int
    #: From the end of the fault until nothing is orphaned, overdue or missing in Redis.
    recovery: Recovery
    #: Not final `STUCK_S` later.
    stuck: int
    count: ledger.Count
    note: str

    @property
    def broken(self) -> list[str]:
        late = self.recovery.seconds > PATIENCE * self.fault.promised_s
        return [*self.count.broken, *(["stuck"] if self.stuck else []), *(["late"] if late else [])]

    def row(self) -> str:
        count = self.count
        cells = (
            f"{self.fault.title}{': ' if self.note else ''}{self.note}",
            self.in_flight,
            f"{self.recovery} of {self.fault.promised_s:g}",
            *(count.lost, count.doubled, self.stuck, count.effects_wrong, count.blamed, count.wrong_end),
            *(count.reruns, count.spin_reruns),
            f"BROKEN: {', '.join(self.broken)}" if self.broken else "sound",
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| fault | in flight | recovery, s | lost | doubled | stuck | effects not once | blamed | wrong end |"
    " reruns | busy task rerun | |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


async def play(fault: Fault, servers: Servers, folder: Path) -> Report:
    """In a database of its own, with processes of its own."""
    database_url = servers.create(fault.name)
    _migrate(database_url)
    logs = folder / fault.name
    logs.mkdir()
    async with Platform(database_url, servers.redis_url, logs) as platform:
        await platform.queues.client.flushall()
        await platform.rows("CREATE TABLE effect (task_id uuid)")
        if fault.prepare is not None:
            await fault.prepare(platform)
        async with Crew(platform, servers) as crew:
            await load.tick(platform)
            async with crew.customers:
                submitting = asyncio.create_task(load.submit(platform, over_s=fault.load_s))
                await eventually(lambda: _ended(platform, BEGIN_AFTER), 120)
                in_flight = await load.open_tasks(platform)
                note = await fault.inflict(crew)
                mended = await recovered(platform, crew.live)
                ids = await submitting
            await load.stop_ticking(platform)
            return await _settle(fault, platform, in_flight, mended, ids, crew.customers.ids, note or "")


async def _settle(
    fault: Fault,
    platform: Platform,
    in_flight: int,
    mended: Recovery,
    ids: list[UUID],
    customers: list[UUID],
    note: str,
) -> Report:
    stuck = await _left_after(STUCK_S, lambda: load.open_apart(platform))
    if not stuck:
        stuck = await _left_after(SPIN_STUCK_S, lambda: load.open_tasks(platform))
    count = await ledger.count(platform, ids, customers)
    return Report(fault, in_flight, mended, stuck, count, note)


async def _left_after(limit_s: float, count: Callable[[], Awaitable[int]]) -> int:
    """Tasks that are not final after this time; 0 as soon as all are."""
    ends = time.monotonic() + limit_s
    while True:
        left = await count()
        if not left or time.monotonic() > ends:
            return left
        await asyncio.sleep(POLL_S)


async def _ended(platform: Platform, number: int) -> bool:
    try:
        (row,) = await platform.rows(
            "SELECT count(*) AS n FROM task WHERE status = 'success' AND created_at > now() - interval '1 d'"
        )
    except ServerAway:
        return False
    return bool(row["n"] >= number)


def _migrate(url: str) -> None:
    command = [sys.executable, "-m", "shared.migrate"]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True, stdout=subprocess.DEVNULL
    )
