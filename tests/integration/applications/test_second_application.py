"""Tests an application in a package of its own, with a task, a route, a table, a migration and
hooks.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import ROOT, Platform

FILES = {
    "application.py": """
from shared.applications import Application

APPLICATION = Application(
    name="fleet",
    contracts="fleet.contracts",
    bodies="fleet.bodies",
    gateways="fleet.gateways:build",
    hooks="fleet.hooks:HOOKS",
    routes="fleet.routes:ROUTES",
    tables="fleet.tables:TABLES",
    grants="fleet.tables:GRANTS",
    migrations="fleet.piccolo_app",
    settings="fleet.settings:FleetSettings",
)
""",
    "settings.py": """
from dataclasses import dataclass

from shared.environment import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    depot: str = setting("FLEET_DEPOT", "none")
""",
    "gateways.py": """
from fleet.settings import FleetSettings


class Depot:
    def __init__(self, name):
        self.name = name


def build(settings):
    return {Depot: Depot(settings.of(FleetSettings).depot)}
""",
    "tables.py": """
from piccolo.columns import BigSerial, Text
from piccolo.table import Table


class Trip(Table, tablename="fleet_trip"):
    id = BigSerial(primary_key=True)
    car = Text()
    note = Text()


TABLES = (Trip,)
GRANTS = {
    "often_api": {"fleet_trip": ("SELECT",)},
    "often_worker": {"fleet_trip": ("SELECT", "INSERT", "UPDATE")},
}
""",
    "piccolo_app.py": """
from pathlib import Path

from piccolo.conf.apps import AppConfig

from fleet.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="fleet",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(TABLES),
    migration_dependencies=[],
)
""",
    "migrations/__init__.py": "",
    "migrations/fleet_2026_11_29t12_00_00_000000.py": """
from shared.sql_migration import in_sql

ID = "2026-11-29T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Trips"


async def forwards():
    statements = ["CREATE TABLE fleet_trip (id bigserial PRIMARY KEY, car text NOT NULL, note text NOT NULL)"]
    return in_sql(ID, "fleet", DESCRIPTION, statements)
""",
    "contracts/__init__.py": "",
    "contracts/trips.py": """
from shared.contracts.contract import Contract, Params, Result, Retries


class Drive(Params):
    car: str


class Driven(Result):
    depot: str


DRIVE = Contract(
    name="trips.drive", queue="fleet", params=Drive, result=Driven, retries=Retries(max_attempts=1)
)
""",
    "bodies/__init__.py": "",
    "bodies/trips.py": """
from fleet.contracts.trips import DRIVE, Drive, Driven
from fleet.gateways import Depot
from fleet.tables import Trip
from services.worker.registry import task
from shared.contracts.context import TaskContext


@task(DRIVE)
def drive(context: TaskContext, params: Drive) -> Driven:
    if params.car == "broken":
        raise RuntimeError("it does not start")
    context.wait_for(note(context, params.car, "driven"))
    return Driven(depot=context.gateway(Depot).name)


async def note(context: TaskContext, car: str, text: str) -> None:
    await Trip.insert(Trip(car=car, note=text))
    await context.database.run("UPDATE fleet_trip SET note = note || {} WHERE car = {}", " home", car)
""",
    "hooks.py": """
from contextlib import contextmanager

from shared.contracts.hooks import Hooks


def noted(context, *said):
    context.log.info("hook: %s", said[0])
    raise LookupError("a hook that breaks changes nothing")


@contextmanager
def around(context, params):
    context.log.info("around: begins")
    try:
        yield
    finally:
        context.log.info("around: ends")


HOOKS = Hooks(on_success=noted, on_failure=noted, around=around)
""",
    "routes.py": """
from litestar import get
from litestar.di import NamedDependency

from fleet.tables import Trip
from services.api.applications import Routes
from services.api.identity.rights import ALL, Right, Scope
from shared.ledger.database import Database


@get("/trips", summary="All trips")
async def list_trips(database: NamedDependency[Database]) -> list[str]:
    trips = await database.answered(Trip.select().order_by(Trip.id))
    return [f"{trip['car']} {trip['note']}" for trip in trips]


ROUTES = Routes(
    signed_in=[list_trips],
    rights={"GET /api/v1/trips": Right(Scope.TASKS_READ, ALL, ALL, ALL, ALL)},
)
""",
    "__init__.py": "",
}


@pytest.fixture
def beside(tmp_path: Path, platform: Platform) -> dict[str, str]:
    """Write the new application's package and run its migration.

    Returns the environment of a process with this application and the hotel application.
    """
    package = tmp_path / "applications" / "fleet"
    for name, text in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    environment = {
        "PYTHONPATH": str(package.parent),
        "OFTEN_APPLICATIONS": "shared.hotel,fleet",
        "FLEET_DEPOT": "Pune",
        "OFTEN_WORKER_QUEUES": "fleet",
    }
    _migrate(
        platform.database_url, {name: environment[name] for name in ("PYTHONPATH", "OFTEN_APPLICATIONS")}
    )
    return environment


def _migrate(url: str, environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "shared.migrate"],
        cwd=ROOT,
        env={**os.environ, **environment, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture
async def guest(platform: Platform, beside: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A signed-in user of an API that serves both applications."""
    api = Api(platform)
    await api.start(**beside)
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", trust_env=False) as client:
        person = {"email": "asha@often.example", "password": "correct horse battery"}
        await client.post("/auth/register", json=person)
        tokens = (await client.post("/auth/login", json=person)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client
    await api.stop()


async def test_a_task_a_route_and_a_table_of_a_second_application_work_beside_the_first(
    platform: Platform, beside: dict[str, str], guest: httpx.AsyncClient
) -> None:
    platform.start("services.worker", **beside)
    await platform.start_scheduler(**beside)

    async def ended(car: str) -> dict[str, Any]:
        new = {"name": "trips.drive", "params": {"car": car}}
        task_id = (await guest.post("/tasks", json=new)).raise_for_status().json()["task_id"]

        async def final() -> dict[str, Any] | None:
            task: dict[str, Any] = (await guest.get(f"/tasks/{task_id}")).json()
            return task if task["status"] in ("success", "failure") else None

        return await eventually(final)

    driven, broken = await ended("van"), await ended("broken")

    assert (driven["status"], driven["result"]) == ("success", {"depot": "Pune"})
    assert (broken["status"], broken["error_message"]) == ("failure", "RuntimeError: it does not start")
    assert (await guest.get("/trips")).json() == ["van driven home"]
    lines = (await guest.get(f"/tasks/{driven['task_id']}/logs")).json()["logs"]
    said = [line["message"] for line in lines]
    assert said[:2] == ["around: begins", "around: ends"]
    assert said[2].startswith("hook: Driven(")
    # The routes of the hotel application still work.
    assert (await guest.get("/price-alerts")).status_code == 200
