"""Tests that each service has the rights for every SQL statement that it defines as a constant.

EXPLAIN checks rights without running a statement. Queries that Piccolo builds are not covered here;
the tests of the services run those.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

import services.api
import services.scheduler
import services.worker
from shared.ledger.database import _numbered
from shared.ledger.grants import GRANTS
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import MARK_PUSHED
from shared.personal.data import Then
from shared.roles import API, SCHEDULER, WORKER
from tests.installed import HOTEL
from tests.roles import as_role

SERVICES = {API: services.api, WORKER: services.worker, SCHEDULER: services.scheduler}
#: Modules that connect to Postgres with the owner's role, and not with their service's role.
AS_OWNER = ("services.scheduler.kept", "services.scheduler.pruner")
TEXT = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b")
#: Minimum number of statements that the test must find per service. If there are fewer, its search
#: is incomplete.
AT_LEAST = 25


def modules(service: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(service.__path__, f"{service.__name__}."):
        left_out = found.name in AS_OWNER or found.name.endswith("__main__")
        if not left_out and (HOTEL or ".hotel" not in found.name):
            yield importlib.import_module(found.name)


def texts(value: Any) -> Iterator[str]:
    """All SQL statements in the value of a constant."""
    match value:
        case Statement():
            yield value.sql
        case str() if TEXT.match(value):
            yield _numbered(value)
        case Mapping():
            yield from (text for each in value.values() for text in texts(each))


def statements(module: ModuleType) -> Iterator[str]:
    """All SQL statements of a module: those that it defines, imports by name, or uses as
    `module.NAME`.
    """
    source = inspect.getsource(module) if Path(str(module.__file__)).stat().st_size else ""
    for name, value in vars(module).items():
        if isinstance(value, ModuleType):
            used = set(re.findall(rf"\b{name}\.([A-Z][A-Z_]+)\b", source))
            for constant in used & vars(value).keys():
                yield from texts(vars(value)[constant])
        elif name.isupper():
            yield from texts(value)


async def lacking(connection: asyncpg.Connection, text: str) -> str | None:
    """The right that the session lacks for a statement.

    Returns an empty text if it lacks none, and None if the text is only a fragment of a statement.
    """
    try:
        await connection.execute(f"EXPLAIN (GENERIC_PLAN) {text}")
    except asyncpg.InsufficientPrivilegeError as error:
        return f"{error}: {text}"
    except (asyncpg.PostgresError, ValueError):
        return None
    return ""


def of_personal_data(role: str) -> Iterator[str]:
    """The statements on personal data that a role runs: the API exports all rows of an account, and
    the worker erases them.
    """
    names = ["shared.personal.platform", *(["shared.hotel.personal_data"] if HOTEL else [])]
    for name in names:
        for rows in importlib.import_module(name).PERSONAL_DATA.rows:
            if role == API:
                yield rows.page(is_first=True).sql
            if role == WORKER and rows.then is not Then.KEEP:
                yield rows.erasing().sql


def written(text: str) -> set[str]:
    """Names of the columns of `task` that a statement changes."""
    assignments = text.partition("UPDATE task AS t SET ")[2]
    while (flat := re.sub(r"\([^()]*\)", "", assignments)) != assignments:
        assignments = flat
    assignments = re.split(r"\b(?:FROM|WHERE)\b", assignments)[0]
    return {each.partition("=")[0].strip() for each in assignments.split(",") if "=" in each}


def test_the_api_may_update_the_columns_of_a_task_that_it_writes_and_no_others() -> None:
    found = {text for module in modules(services.api) for text in statements(module)} | {MARK_PUSHED.sql}
    granted = next(right for right in GRANTS[API]["task"] if right.startswith("UPDATE"))
    columns = set(re.findall(r"[a-z_]+", granted.removeprefix("UPDATE")))
    assert set().union(*map(written, found)) == columns


@pytest.mark.parametrize("role", SERVICES)
async def test_a_service_has_the_rights_for_its_statements(migrated_url: str, role: str) -> None:
    found = {text for module in modules(SERVICES[role]) for text in statements(module)}
    found |= set(of_personal_data(role))
    connection = await asyncpg.connect(as_role(migrated_url, role))
    try:
        answers = [await lacking(connection, text) for text in sorted(found)]
    finally:
        await connection.close()
    assert [answer for answer in answers if answer] == []
    assert answers.count("") >= AT_LEAST
