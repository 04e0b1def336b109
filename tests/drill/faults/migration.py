"""A fault of the drill: a database migration changes the largest table while all services run. Most
of the time is spent filling the table before.
"""

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

from bench import filler
from shared.applications import DEFAULT
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.stopwatch import Stopwatch
from tests.platform import ROOT, Platform

#: Number of rows that are inserted before the migration. A machine with two cores inserts about
#: 25,000 rows per second.
ROWS = int(os.environ.get("ROWS") or 1_000_000)
DAYS, OWNERS = 28, 10_000
#: Applications whose migrations are run. The running services load fewer of them, so they do not
#: know the new schema.
APPLICATIONS = f"{DEFAULT},tests.growth"


async def _history(platform: Platform) -> None:
    # The current day is left empty, because the drill counts its tasks.
    days = filler.days_before(datetime.now(UTC).date(), first=2, count=DAYS)
    await filler.fill(platform.database_url, days, ROWS, owners=OWNERS, attempts=False)


@fault(
    f"`migrate` adds a column, a constraint and an index to `task` with {ROWS:,} rows",
    promised_s=5.0,
    prepare=_history,
)
async def migrate_large(crew: Crew) -> str:
    refused = crew.customers.refused, crew.customers.unanswered
    begun = time.monotonic()
    async with Stopwatch(crew.api.url) as requests:
        ended = await asyncio.to_thread(_migrate, crew.platform.database_url)
    took_s = time.monotonic() - begun
    crew.customers.ids.extend(requests.ids)
    assert ended.returncode == 0, ended.stderr
    assert (crew.customers.refused, crew.customers.unanswered) == refused, (
        "the API refused requests of customers"
    )
    assert requests.failed == 0, f"{requests.failed} of {len(requests.took_s)} requests failed"
    longest = f"{len(requests.took_s)} requests, the longest {max(requests.took_s):.2f} s"
    return f"{took_s:.0f} s; {longest}"


def _migrate(database_url: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DATABASE_URL": database_url, "OFTEN_APPLICATIONS": APPLICATIONS}
    command = [sys.executable, "-m", "shared.migrate"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


FAULTS = [migrate_large]
