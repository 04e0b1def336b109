"""Tests that the platform works without any application: its migrations and its three services."""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared import applications
from shared.applications import PLATFORM
from shared.ledger.tables import TABLES
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import ROOT, Platform

#: Environment without applications. It makes Python log each module that it imports.
ALONE = {"OFTEN_APPLICATIONS": "", "PYTHONPROFILEIMPORTTIME": "1"}


@pytest.fixture
def migrated(empty_database: str) -> str:
    """A database that was migrated without any application."""
    ended = subprocess.run(
        [sys.executable, "-m", "shared.migrate"],
        cwd=ROOT,
        env={**os.environ, **ALONE, "DATABASE_URL": empty_database},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert hotel_modules(ended.stderr) == []
    return empty_database


@pytest.fixture
async def alone(migrated: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    async with Platform(migrated, redis_url, tmp_path) as platform:
        yield platform


def hotel_modules(log: str) -> list[str]:
    """Names of the hotel application's modules that a process imported, from its log.

    Python must log imports there.
    """
    lines = [line for line in log.splitlines() if line.startswith("import time:")]
    imported = [line.rpartition("|")[2].strip() for line in lines]
    assert "shared.applications" in imported
    return [name for name in imported if "hotel" in name]


async def test_the_platform_runs_a_task_without_any_application(alone: Platform) -> None:
    api = Api(alone)
    await api.start(**ALONE)
    worker = alone.start("services.worker", **ALONE)
    scheduler = await alone.start_scheduler(**ALONE)
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", trust_env=False) as http:
        person = {"email": "asha@often.example", "password": secrets.token_hex(8)}
        (await http.post("/auth/register", json=person)).raise_for_status()
        tokens = (await http.post("/auth/login", json=person)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        answer = await http.post("/tasks", json={"name": "system.health_check", "params": {}})
        path = f"/tasks/{answer.raise_for_status().json()['task_id']}"

        async def ended() -> dict[str, Any] | None:
            task: dict[str, Any] = (await http.get(path)).json()
            return task if task["status"] in ("success", "failure") else None

        assert (await eventually(ended))["status"] == "success"
        absent = [await http.get(f"/{name}") for name in ("price-alerts", "push/key", "auth/me/mail")]
        tasks = (await http.get("/catalogue")).json()["tasks"]

    assert [answer.status_code for answer in absent] == [404, 404, 404]
    assert [task["name"] for task in tasks] == ["system.health_check"]
    for process in (api.process, worker, scheduler):
        assert hotel_modules(alone.log_of(process)) == []


async def test_the_database_has_the_tables_of_the_platform_only(alone: Platform) -> None:
    rows = await alone.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    tables = [*TABLES, *applications.tables([PLATFORM])]
    expected = {table._meta.tablename for table in tables} | {"migration"}
    assert {row["relname"] for row in rows} == expected
