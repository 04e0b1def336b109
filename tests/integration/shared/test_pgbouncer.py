"""Tests that everything works with PgBouncer in session mode, and that no process starts with its
other modes.
"""

import secrets
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from shared.ledger import preflight
from shared.ledger.database import Database
from tests.eventually import eventually
from tests.pgbouncer import pooling
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

SETTINGS = (
    "SELECT current_setting('statement_timeout') AS statement_timeout, "
    "current_setting('default_transaction_isolation') AS isolation, "
    "current_setting('enable_seqscan') AS enable_seqscan, current_setting('application_name') AS name"
)


async def test_in_session_mode_tasks_run_and_a_killed_worker_loses_its_lock(
    platform: Platform, folder: Path
) -> None:
    async with pooling(platform.database_url, folder / secrets.token_hex(4), mode="session") as url:
        await platform.start_scheduler(DATABASE_URL=url)
        worker = await platform.start_worker(DATABASE_URL=url)
        rows = await platform.all_final(await platform.submit(INSTANT, Nothing(), count=20))
        assert {(row["status"], row["attempt"]) for row in rows} == {("success", 1)}
        assert not await lock_is_free(platform)
        worker.kill()
        await eventually(lambda: lock_is_free(platform))


@pytest.mark.parametrize(
    ("database", "limit", "by_index"),
    [
        (Database.for_service, "4500ms", "on"),
        (Database.for_recorder, "4500ms", "off"),
        (Database.for_tasks, "59500ms", "on"),
    ],
)
async def test_in_session_mode_each_session_has_its_own_settings_even_after_they_were_changed(
    platform: Platform, folder: Path, database: Callable[[str, str], Database], limit: str, by_index: str
) -> None:
    name = platform.database_url.rpartition("/")[2]
    await platform.rows(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    async with pooling(platform.database_url, folder / secrets.token_hex(4), mode="session") as url:
        pool = database(url, "pooled")
        await pool.open(size=1)
        if database == Database.for_tasks:  # a task body may change its session like this
            await pool.run("SET statement_timeout = 1")
            await pool.run("SET default_transaction_isolation = serializable")
        (row,) = await pool.run(SETTINGS)
        await pool.close()
    assert row == {
        "statement_timeout": limit,
        "isolation": "read committed",
        "enable_seqscan": by_index,
        "name": "often-pooled",
    }


async def lock_is_free(platform: Platform) -> bool:
    """Whether the advisory lock of the dead client is free again.

    It is once the pooler has closed or reset the session.
    """
    (row,) = await platform.rows(
        "SELECT count(*) AS n FROM pg_locks AS l JOIN worker AS w ON l.locktype = 'advisory'"
        " AND (l.classid::bigint << 32 | l.objid::bigint) = w.lock_key"
    )
    return bool(row["n"] == 0)


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is not None


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_in_other_modes_each_process_refuses_to_start_in_one_line(
    platform: Platform, folder: Path, mode: str
) -> None:
    async with pooling(platform.database_url, folder / secrets.token_hex(4), mode=mode) as url:
        modules = ("services.api", "services.scheduler", "tests.sample_worker")
        processes = [
            platform.start(module, DATABASE_URL=url, SECRET_KEY=secrets.token_hex(32)) for module in modules
        ]
        for process in processes:
            await eventually(partial(has_ended, process), 90)
            said = platform.log_of(process)
            assert process.returncode == 2, said
            assert f"DATABASE_URL {preflight.POOLED}\n" in said
            assert "Traceback" not in said
