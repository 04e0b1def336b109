"""Tests temporary errors of Postgres: no task may be lost, be blamed for a crash or run twice, and
work must continue afterwards.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from local.ports import pick
from local.postgres import SUPERUSER
from tests.eventually import eventually
from tests.platform import Platform
from tests.roles import as_role
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds

#: Seconds for which the problem lasts. It is longer than a statement may take.
LASTS_S = 8.0
#: Seconds within which new tasks must complete after the problem has ended.
RECOVERY_S = 5.0

CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'often-%'
"""
OLDER_THAN_5_S = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'often-%' AND state = 'active'
      AND clock_timestamp() - query_start > interval '5 s'
"""


@asynccontextmanager
async def closing(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Opens a separate connection to Postgres as a superuser, as an operator would."""
    connection = await asyncpg.connect(as_role(url, SUPERUSER))
    try:
        yield connection
    finally:
        await connection.close()


async def set_read_only(admin: asyncpg.Connection, *, on: bool) -> None:
    """Make the database read-only and close its connections, as in a failover. With `on=False`,
    make it writable again.
    """
    name = await admin.fetchval("SELECT quote_ident(current_database())")
    await admin.execute("SET default_transaction_read_only = off")
    if on:
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    else:
        await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await admin.execute(CUT)


async def test_a_read_only_postgres_only_costs_time(platform: Platform) -> None:
    worker, scheduler = await platform.start_worker(), await platform.start_scheduler()
    ids = await platform.submit(WAIT, Seconds(seconds=0.05), count=1_000)
    await platform.until(ids[0], "success")

    async with closing(platform.database_url) as admin:
        await set_read_only(admin, on=True)
        await asyncio.sleep(LASTS_S)
        await set_read_only(admin, on=False)

    ended = time.monotonic()
    (new,) = await platform.submit(INSTANT, Nothing(), priority=9)
    await platform.until(new, "success")
    assert time.monotonic() - ended < RECOVERY_S
    rows = await platform.all_final(ids)
    assert {(r["status"], r["attempt"], r["crashes"], r["interruptions"]) for r in rows} == {
        ("success", 1, 0, 0)
    }
    assert worker.poll() is None
    assert scheduler.poll() is None
    assert "read-only transaction" in platform.log_of(worker)


async def test_a_locked_table_costs_time_and_no_body_runs_twice(platform: Platform) -> None:
    port = pick("worker")["worker"]
    worker = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    await platform.start_scheduler()
    ids = await platform.submit(WAIT, Seconds(seconds=0.05), count=1_000)
    await platform.until(ids[0], "success")
    async with closing(platform.database_url) as admin, admin.transaction():
        await admin.execute("LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(LASTS_S)
        abandoned = await admin.fetchval(OLDER_THAN_5_S)
    # The services cancel statements after 5 s. The server must have ended those statements, too.
    assert abandoned == 0

    rows = await platform.all_final(ids)
    assert {(r["status"], r["attempt"], r["crashes"]) for r in rows} == {("success", 1, 0)}
    scraped = await platform.metrics(port)
    # The number of starts is read from the metrics. The number of claims would not prove it,
    # because a claimed task that waits too long for a thread is given back without having started.
    assert scraped["often_tasks_started_total['default', 'sample.wait']"] == len(ids)
    assert worker.poll() is None


@pytest.mark.parametrize("way", ["waits", "hogs"])
async def test_a_worker_whose_drain_never_returns_still_ends(platform: Platform, way: str) -> None:
    worker = platform.start("tests.faults.stuck_worker", way, OFTEN_WORKER_GRACE="0")
    await eventually(lambda: platform.worker_of(worker))
    await eventually(lambda: "takes tasks with" in platform.log_of(worker))
    worker.send_signal(signal.SIGTERM)
    await eventually(lambda: worker.poll() is not None, timeout_s=15)
    assert worker.returncode == 1
    assert f"in {way}" in platform.log_of(worker)
