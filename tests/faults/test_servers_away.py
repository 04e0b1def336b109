"""Tests that no task is lost, and no worker is declared dead, when Postgres or Redis stops
answering under load and comes back.
"""

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from local.postgres import Postgres
from local.valkey import Valkey
from shared.new_task import NewTask
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds

#: Seconds for which a server does not answer. It is longer than the time limit of any statement,
#: the lease of the leader, and the lease of a worker's advisory lock.
AWAY_S = 12.0
RECOVERY_LIMIT_S = 60
#: Maximum number of megabytes by which a worker may grow while Postgres is unavailable. If it
#: stored outcomes without a limit, it would grow by hundreds.
GROWTH_LIMIT_MB = 64


@contextmanager
def frozen(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Freeze these processes inside this context. Connections to them stay open, but requests get
    no answer.
    """
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def of_postgres(server: Postgres) -> list[psutil.Process]:
    return family(int((server.data / "postmaster.pid").read_text().splitlines()[0]))


def of_valkey(server: Valkey) -> list[psutil.Process]:
    listening = (c.pid for c in psutil.net_connections() if c.laddr and c.laddr.port == server.port and c.pid)
    return family(next(listening))


async def test_no_task_and_no_worker_is_lost_while_postgres_is_away_under_load(
    platform: Platform, postgres_server: Postgres
) -> None:
    workers = [await platform.start_worker(), await platform.start_worker()]
    await platform.start_scheduler()
    ids = await platform.submit(WAIT, Seconds(seconds=0.05), count=2_000)
    ids += await platform.submit(WAIT, Seconds(seconds=AWAY_S + 3), count=2)
    await platform.until(ids[0], "success")
    before = [psutil.Process(worker.pid).memory_info().rss for worker in workers]

    with frozen(of_postgres(postgres_server)):
        await asyncio.sleep(AWAY_S)
        grown = [psutil.Process(w.pid).memory_info().rss - b for w, b in zip(workers, before, strict=True)]

    rows = await platform.all_final(ids, RECOVERY_LIMIT_S)
    assert {(r["status"], r["attempt"], r["crashes"], r["interruptions"]) for r in rows} == {
        ("success", 1, 0, 0)
    }
    assert not await platform.rows("SELECT 1 FROM worker WHERE dead_at IS NOT NULL")
    assert max(grown) < GROWTH_LIMIT_MB * 2**20
    assert all(worker.poll() is None for worker in workers)


async def test_no_task_is_lost_and_submissions_wait_only_briefly_while_redis_is_away(
    platform: Platform, valkey_server: Valkey
) -> None:
    await platform.start_worker()
    await platform.start_scheduler()
    ids = await platform.submit(WAIT, Seconds(seconds=0.02), count=1_000)
    await platform.until(ids[0], "success")

    with frozen(of_valkey(valkey_server)):
        started = time.monotonic()
        for _ in range(20):
            ids += await platform.submitter.submit([NewTask(contract=INSTANT, params=Nothing())])
        taken = time.monotonic() - started
        await asyncio.sleep(AWAY_S)

    rows = await platform.all_final(ids, RECOVERY_LIMIT_S)
    assert {(r["status"], r["attempt"], r["crashes"]) for r in rows} == {("success", 1, 0)}
    assert taken < AWAY_S
