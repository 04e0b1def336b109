"""Tests the import of the Celery system's `tasks` table into a real ledger, from a dump that each
test makes.
"""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from local.postgres import Postgres
from often_client import Client
from shared.ledger import partitions
from tests.api_process import Api
from tests.old_days import add_day, clean
from tests.platform import ROOT, Platform

PAGE = (ROOT / "docs/migrating_from_celery.md").read_text()
MAPPING: str = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]
PASSWORD = "a horse, a battery"

#: Creates the old system's table, as its ORM (Tortoise) made it for the models in that system's
#: guide.
OLD_TABLE = """
    CREATE TABLE tasks (
        id serial PRIMARY KEY,
        task_id varchar(255) NOT NULL UNIQUE,
        task_name varchar(255) NOT NULL,
        task_type varchar(100) NOT NULL,
        status varchar(7) NOT NULL DEFAULT 'pending',
        user_id int,
        started_at timestamptz, completed_at timestamptz, execution_time_seconds double precision,
        task_args jsonb, task_kwargs jsonb, result jsonb, error_message text, traceback text,
        progress_current int NOT NULL DEFAULT 0, progress_total int NOT NULL DEFAULT 100,
        progress_message varchar(500),
        retry_count int NOT NULL DEFAULT 0, max_retries int NOT NULL DEFAULT 3,
        queue_name varchar(100) NOT NULL DEFAULT 'default', priority int NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
    )
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


class OldSystem:
    """The old Celery system, of which only the database matters."""

    def __init__(self, url: str, connection: asyncpg.Connection) -> None:
        self.url = url
        self._connection = connection

    async def add(self, task_id: str, status: str, *, days_ago: float = 1, **columns: Any) -> None:
        row = {
            "task_id": task_id,
            "task_name": "app.tasks.email_tasks.send_welcome_email",
            "task_type": "email",
            "status": status,
            "queue_name": "email",
            "created_at": datetime.now(UTC) - timedelta(days=days_ago),
            **{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in columns.items()},
        }
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self._connection.execute(
            f"INSERT INTO tasks ({', '.join(row)}) VALUES ({places})", *row.values()
        )

    async def dump(self, file: Path) -> None:
        await self._connection.copy_from_query(
            "SELECT * FROM tasks ORDER BY created_at", output=file, format="csv", header=True
        )


@pytest.fixture
async def old(postgres_server: Postgres) -> AsyncIterator[OldSystem]:
    name = f"celery_{secrets.token_hex(8)}"
    postgres_server.create_database(name)
    connection = await asyncpg.connect(postgres_server.url(name))
    await connection.execute(OLD_TABLE)
    yield OldSystem(postgres_server.url(name), connection)
    await connection.close()
    postgres_server.drop_database(name)


@pytest.fixture
def run(platform: Platform, old: OldSystem) -> Run:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools.import_celery_tasks", *arguments],
            cwd=ROOT,
            env={"DATABASE_URL": platform.database_url, "CELERY_DATABASE_URL": old.url, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def counts(report: str) -> dict[str, int]:
    return {
        fate: int(count.replace(",", ""))
        for count, fate in re.findall(r"^ *([\d,]+)  (.+)$", report, re.MULTILINE)
    }


def seen(report: str) -> dict[str, int]:
    """Counts in the import's report by what happened to the rows, without those that are zero."""
    return {fate: count for fate, count in counts(report).items() if count}


async def signed_in(api: Api, platform: Platform) -> tuple[int, str]:
    """Register an administrator. Returns its id and access token."""
    email = f"{secrets.token_hex(8)}@often.example"
    with Client(api.url) as client:
        account = client.register(email, PASSWORD)
        # Remove the task for the mail that confirms the address, because it does not come from the
        # old system.
        await platform.rows("DELETE FROM task WHERE name = 'email.send_account_mail'")
        await platform.rows("UPDATE account SET role = 'administrator' WHERE id = {}", account.id)
        client.sign_in(email, PASSWORD)
        assert client.session.token is not None
        return account.id, client.session.token


async def test_a_finished_row_is_in_the_ledger_with_its_times_and_result(
    platform: Platform, old: OldSystem, run: Run
) -> None:
    created = datetime.now(UTC) - timedelta(days=9)
    await old.add(
        "ab12",
        "success",
        user_id=7,
        created_at=created,
        started_at=created + timedelta(seconds=2),
        completed_at=created + timedelta(seconds=5),
        execution_time_seconds=3.0,
        task_args=[7],
        task_kwargs={"bonus": None},
        result={"success": True, "note": 'a "quoted" line,\nand another'},
        progress_current=100,
        priority=9,
    )

    done = run("--keep-owners", "--apply")

    assert (done.returncode, seen(done.stdout)) == (0, {"imported as history": 1}), done.stderr
    (row,) = await platform.rows("SELECT * FROM task")
    assert (row["name"], row["type"], row["queue"]) == ("celery.send_welcome_email", "email", "email")
    assert (row["status"], row["owner"], row["priority"], row["attempt"]) == ("success", 7, 9, 1)
    assert row["created_at"] == created
    assert row["completed_at"] - row["started_at"] == timedelta(seconds=3)
    assert json.loads(row["result"])["note"] == 'a "quoted" line,\nand another'
    assert json.loads(row["params"]) == {
        "task_id": "ab12",
        "task_name": "app.tasks.email_tasks.send_welcome_email",
        "args": [7],
        "kwargs": {"bonus": None},
    }
    # The new id contains the time of the old task's creation, so the import had to create a
    # partition for that day.
    assert partitions.floor_id(created.date()) < row["id"] < partitions.floor_id(datetime.now(UTC).date())
    assert row["id"].version == 7


async def test_without_apply_nothing_is_changed(platform: Platform, old: OldSystem, run: Run) -> None:
    await old.add("ab12", "success", days_ago=9)
    before = await platform.rows(partitions.EXISTING)

    done = run()

    assert seen(done.stdout) == {"imported as history": 1}
    assert "Nothing was changed" in done.stdout
    assert await platform.rows("SELECT 1 FROM task") == []
    assert await platform.rows(partitions.EXISTING) == before


async def test_a_second_run_adds_nothing(platform: Platform, old: OldSystem, run: Run) -> None:
    for number in range(1_203):
        status = ("success", "failure", "revoked")[number % 3]
        await old.add(f"task-{number}", status, days_ago=number % 4, error_message="broken")
    assert seen(run("--apply").stdout) == {"imported as history": 1_203}

    assert seen(run().stdout) == {"in the ledger already": 1_203}
    assert seen(run("--apply").stdout) == {"in the ledger already": 1_203}

    rows = await platform.rows("SELECT status, count(*) AS n FROM task GROUP BY status")
    assert {row["status"]: row["n"] for row in rows} == {"success": 401, "failure": 401, "revoked": 401}


async def test_rows_that_the_cleanup_would_remove_are_left_out(
    platform: Platform, old: OldSystem, run: Run
) -> None:
    await old.add("young", "success", days_ago=29)
    await old.add("old", "success", days_ago=32)
    await old.add("older and waiting", "pending", days_ago=40)

    done = run("--apply")

    assert seen(done.stdout) == {"imported as history": 1, "older than --keep-days, left out": 2}
    (row,) = await platform.rows("SELECT params ->> 'task_id' AS old_id FROM task")
    assert row["old_id"] == "young"


async def test_a_row_of_a_day_that_the_cleanup_has_dropped_is_imported_all_the_same(
    platform: Platform, old: OldSystem, run: Run
) -> None:
    await add_day(platform, 22, final=0, alive=1)
    await clean(platform, days_old=20)
    await old.add("young", "success", days_ago=25)
    assert seen(run("--apply").stdout) == {"imported as history": 1}
    assert len(await platform.rows("SELECT 1 FROM task_kept")) == 2


@pytest.mark.hotel
async def test_a_waiting_row_becomes_one_task_however_often_it_is_imported(
    platform: Platform, old: OldSystem, run: Run, tmp_path: Path
) -> None:
    api = Api(platform)
    await api.start()
    user, token = await signed_in(api, platform)
    (tmp_path / "mapping.json").write_text(MAPPING)
    options = ("--mapping", str(tmp_path / "mapping.json"), "--api", api.url, "--apply")
    await old.add("waits", "pending", task_args=[user])
    await old.add("waits for its retry", "retry", task_kwargs={"user_id": user}, priority=7)

    first = run(*options, API_KEY=token)

    assert (first.returncode, seen(first.stdout)) == (0, {"submitted": 2}), first.stdout + first.stderr
    tasks = await platform.rows("SELECT * FROM task WHERE name = 'email.send_welcome' ORDER BY id")
    assert [(t["status"], json.loads(t["params"]), t["priority"]) for t in tasks] == [
        ("pending", {"user_id": user}, 5),
        ("pending", {"user_id": user}, 7),
    ]
    old_rows = await platform.rows("SELECT * FROM task WHERE name LIKE 'celery.%' ORDER BY id")
    assert {row["error_message"] for row in old_rows} == {f"continued as task {t['id']}" for t in tasks}
    assert {row["status"] for row in old_rows} == {"revoked"}

    # Delete the idempotency keys, as the API does after a day. The rows in the ledger must still
    # prevent a second import.
    await platform.rows("DELETE FROM submission_key")
    assert seen(run(*options, API_KEY=token).stdout) == {"in the ledger already": 2}
    assert len(await platform.rows("SELECT 1 FROM task")) == 4


@pytest.mark.hotel
async def test_a_run_that_ended_between_submission_and_record_submits_nothing_twice(
    platform: Platform, old: OldSystem, run: Run, tmp_path: Path
) -> None:
    api = Api(platform)
    await api.start()
    user, token = await signed_in(api, platform)
    (tmp_path / "mapping.json").write_text(MAPPING)
    await old.add("waits", "pending", task_args=[user])
    options = ("--mapping", str(tmp_path / "mapping.json"), "--api", api.url, "--apply")
    assert seen(run(*options, API_KEY=token).stdout) == {"submitted": 1}
    await platform.rows("DELETE FROM task WHERE name LIKE 'celery.%'")

    assert seen(run(*options, API_KEY=token).stdout) == {"submitted": 1}

    rows = await platform.rows("SELECT name, error_message FROM task ORDER BY id DESC")
    assert [row["name"] for row in rows] == ["email.send_welcome", "celery.send_welcome_email"]


@pytest.mark.hotel
async def test_what_needs_attention_is_named_and_the_exit_status_says_so(
    platform: Platform, old: OldSystem, run: Run, tmp_path: Path
) -> None:
    api = Api(platform)
    await api.start()
    user, token = await signed_in(api, platform)
    mapping = json.loads(MAPPING) | {"no_such_task": {"name": "no.such_task"}}
    (tmp_path / "mapping.json").write_text(json.dumps(mapping))
    await old.add("runs", "started")
    await old.add("unmapped", "pending", task_name="app.tasks.hotel_tasks.sync_hotel_data")
    await old.add("unknown contract", "pending", task_name="no_such_task")
    await old.add("too many", "pending", task_args=[user, "and more"])
    await old.add("from tomorrow", "success", days_ago=-2)
    await old.add("fine", "success")

    done = run("--mapping", str(tmp_path / "mapping.json"), "--api", api.url, "--apply", API_KEY=token)

    assert done.returncode == 1
    assert seen(done.stdout) == {
        "imported as history": 1,
        "still marked as started, left out": 1,
        "waiting, but without --api or a rule in --mapping, left out": 1,
        "waiting, but refused by the API or its rule": 2,
        "unreadable": 1,
    }
    assert "unknown contract (no_such_task): " in done.stdout
    assert "too many (app.tasks.email_tasks.send_welcome_email): 2 positional arguments" in done.stdout
    assert "unreadable: from tomorrow: created_at is in the future" in done.stdout


async def test_a_dump_gives_the_same_as_the_database(
    platform: Platform, old: OldSystem, run: Run, tmp_path: Path
) -> None:
    await old.add("ab12", "failure", error_message="line one\nline two", traceback="Traceback …")
    await old.add("cd34", "revoked", completed_at=None)
    await old.dump(tmp_path / "tasks.csv")

    from_dump = run("--csv", str(tmp_path / "tasks.csv"), "--apply", CELERY_DATABASE_URL="")

    assert seen(from_dump.stdout) == {"imported as history": 2}, from_dump.stderr
    assert seen(run("--apply").stdout) == {"in the ledger already": 2}
    (failed,) = await platform.rows("SELECT * FROM task WHERE status = 'failure'")
    assert (failed["error_message"], failed["error_traceback"]) == ("line one\nline two", "Traceback …")


async def test_a_missing_source_or_ledger_is_named(run: Run) -> None:
    without_source = run(CELERY_DATABASE_URL="")
    assert without_source.returncode == 2
    assert "give --csv, or set CELERY_DATABASE_URL" in without_source.stderr
    without_ledger = run(DATABASE_URL="")
    assert without_ledger.returncode == 2
    assert "DATABASE_URL is missing" in without_ledger.stderr
