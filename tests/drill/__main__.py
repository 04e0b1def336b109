"""`make drill`: breaks one thing after the other under load, counts the ledger, prints a table of Markdown.

`python -m tests.drill [fault …]` runs only these. Ends with 1 when an invariant is broken.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from shared.errors import ServerAway
from tests.drill import faults, load
from tests.drill.crew import Crew
from tests.drill.faults import Fault
from tests.drill.servers import Servers
from tests.eventually import eventually
from tests.platform import ROOT, Platform

#: A fault begins when so many tasks have ended.
BEGIN_AFTER = 500
#: What is not final so long after the fault is stuck.
STUCK_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True)
class Report:
    """One scenario."""

    fault: Fault
    in_flight: int
    #: From the end of the fault to the next task that ended, and to the last one.
    first_s: float
    all_s: float
    count: load.Count

    def row(self) -> str:
        count = self.count
        cells = (
            (self.fault.__doc__ or "").strip().rstrip("."),
            self.in_flight,
            f"{self.first_s:.1f}",
            f"{self.all_s:.1f}",
            count.lost,
            count.stuck,
            count.effects_wrong,
            count.blamed,
            count.reruns,
            count.spin_rescued,
            count.wrong_end,
            "sound" if count.sound else "BROKEN",
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| fault | in flight | first end after s | last end after s | lost | stuck | effects not once | blamed |"
    " reruns | busy task rescued | wrong end | |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


async def scenario(fault: Fault, servers: Servers, folder: Path) -> Report:
    database_url = servers.create(fault.__name__)
    _migrate(database_url)
    logs = folder / fault.__name__
    logs.mkdir()
    async with Platform(database_url, servers.redis_url, logs) as platform:
        await platform.queues.client.flushall()
        await platform.rows("CREATE TABLE effect (task_id uuid)")
        async with Crew(platform, servers) as crew:
            ids = await load.submit(platform)
            await eventually(partial(_begun, platform, len(ids) - BEGIN_AFTER), STUCK_S)
            in_flight = await load.open_tasks(platform)
            await fault(crew)
            return await _recover(fault, platform, ids, in_flight)


async def _recover(fault: Fault, platform: Platform, ids: list[UUID], in_flight: int) -> Report:
    over = time.monotonic()
    first_s = None
    left = before = await _open(platform)
    while left and time.monotonic() < over + STUCK_S:
        left = await _open(platform)
        if first_s is None and left < before:
            first_s = time.monotonic() - over
        await asyncio.sleep(POLL_S)
    all_s = time.monotonic() - over
    return Report(fault, in_flight, first_s or 0.0, all_s, await load.count(platform, ids))


async def _begun(platform: Platform, limit: int) -> bool:
    return await _open(platform) <= limit


async def _open(platform: Platform) -> int:
    """Asked until Postgres answers."""
    while True:
        try:
            return await load.open_tasks(platform)
        except ServerAway:
            await asyncio.sleep(POLL_S)


def _migrate(url: str) -> None:
    command = [sys.executable, "-m", "piccolo.main", "migrations", "forwards", "all"]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True, stdout=subprocess.DEVNULL
    )


async def drill(chosen: list[Fault]) -> bool:
    folder = Path(tempfile.mkdtemp(prefix="often-drill-"))
    folder.chmod(0o755)  # PostgreSQL's own account must get through when root runs the drill
    servers = Servers(folder)
    try:
        await servers.start()
        print(f"Logs lie in {folder}\n\n{HEAD}", flush=True)
        sound = True
        for fault in chosen:
            report = await scenario(fault, servers, folder)
            print(report.row(), flush=True)
            sound &= report.count.sound
        return sound
    finally:
        servers.stop()


def main() -> int:
    known = {fault.__name__: fault for fault in faults.ALL}
    unknown = [name for name in sys.argv[1:] if name not in known]
    if unknown:
        print(f"make drill: {unknown[0]} is no fault; known: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[name] for name in sys.argv[1:]] or faults.ALL
    return 0 if asyncio.run(drill(chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
