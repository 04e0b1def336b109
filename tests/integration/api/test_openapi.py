"""Tests that the API conforms to its own OpenAPI document, with generated requests from every kind
of caller.
"""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

from often_client import Client
from services.api.applications import rights_of, routes_of
from shared.identity.tables import Role
from tests.api_process import Api
from tests.installed import INSTALLED
from tests.platform import Platform

PASSWORD = "a horse, a battery"
#: Options of Schemathesis that bound the duration of a run by the number of generated requests per
#: operation and phase. Without `--phases`, requests that the document itself suggests are sent,
#: too. They take most of the time and hardly depend on the caller's role.
OF_ADMINISTRATORS = ("--max-examples", "3")
OF_OTHERS = ("--max-examples", "2", "--phases", "fuzzing")
MANY = ("--max-examples", "100")
#: A check of Schemathesis that is excluded, because the document cannot express which cursors,
#: addresses or combinations of fields are valid.
LEFT_OUT = "positive_data_acceptance"
#: Matches paths of requests that end the caller's session. They are tested in a separate run.
ENDING = r"^/api/v1/auth/(logout|logout-all|password)$"
#: Matches paths whose answer never ends, or may take a minute.
ENDLESS = r"/(events|result)$"


class Caller(NamedTuple):
    """A caller that sends the generated requests."""

    #: Role of the caller; None if the requests carry no credentials.
    role: Role | None
    #: Scopes of the caller's API key; None if the caller uses a session.
    scopes: Sequence[str] | None = None
    #: Options of Schemathesis that choose or exclude operations.
    choice: tuple[str, str] = ("--exclude-path-regex", f"{ENDING}|{ENDLESS}")
    #: A role whose own run covers all other routes. This caller is tested only on routes where it
    #: may reach more than that role.
    beyond: Role | None = None
    #: Mail address of the caller's account.
    email: str = "caller@often.example"


CALLERS = {
    "nobody": Caller(None),
    "user": Caller(Role.USER),
    "viewer": Caller(Role.VIEWER, beyond=Role.USER),
    "operator": Caller(Role.OPERATOR, beyond=Role.VIEWER),
    "administrator": Caller(Role.ADMINISTRATOR),
    "a key with few scopes": Caller(Role.OPERATOR, ["tasks:read", "accounts:read"]),
    "one who signs out": Caller(Role.USER, choice=("--include-path-regex", ENDING)),
}


@pytest.mark.long
@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS.keys())
async def test_the_api_conforms_to_its_document(caller: Caller, platform: Platform, tmp_path: Path) -> None:
    api = Api(platform)
    await api.start(OFTEN_RATE_LIMIT_ADDRESS="100000/minute")
    credentials = await _credentials(caller, api, platform)

    ran = await asyncio.to_thread(
        subprocess.run,
        _command(api.url, caller, credentials),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in platform.log_of(api.process)
    if caller.role is not None and "--exclude-path-regex" in caller.choice:
        # Check that the credentials are still valid. Otherwise the later requests were all refused
        # and tested nothing.
        with Client(api.url, credentials["Authorization"].removeprefix("Bearer ")) as client:
            assert client.me().email == caller.email


async def _credentials(caller: Caller, api: Api, platform: Platform) -> dict[str, str]:
    """Create the caller's account, and an administrator who submits tasks.

    Returns the headers with the caller's credentials.
    """
    with Client(api.url) as client:
        client.register("admin@often.example", PASSWORD)
        client.register(caller.email, PASSWORD)
        await platform.rows("UPDATE account SET role = 'administrator' WHERE email LIKE 'admin@%'")
        await platform.rows(
            "UPDATE account SET role = {} WHERE email = {}", caller.role or Role.USER, caller.email
        )
        client.sign_in("admin@often.example", PASSWORD)
        client.submit_batch([{"name": "system.health_check", "params": {}}] * 3)
        if caller.role is None:
            return {}
        client.sign_in(caller.email, PASSWORD)
        if caller.scopes is None:
            return {"Authorization": f"Bearer {client.session.token}"}
        return {"Authorization": f"Bearer {client.create_key('fuzz', caller.scopes).key}"}


def _command(url: str, caller: Caller, credentials: dict[str, str]) -> list[str]:
    headers = [part for name, value in credentials.items() for part in ("--header", f"{name}: {value}")]
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/v1/schema/openapi.json"),
        *headers,
        *caller.choice,
        *_same_for_others(caller),
        *_extent(caller),
        *("--exclude-checks", LEFT_OUT, "--generation-deterministic", "--continue-on-failure", "--no-color"),
    ]


def _same_for_others(caller: Caller) -> list[str]:
    """Options of Schemathesis that exclude the routes where the caller may reach no more than the
    role in `beyond`.
    """
    if caller.role is None or caller.beyond is None:
        return []
    same = [
        route
        for route, right in rights_of(routes_of(INSTALLED)).entries.items()
        if " /console" not in route and right.reach[caller.role] <= right.reach[caller.beyond]
    ]
    return [part for route in same for part in ("--exclude-name", route)]


def _extent(caller: Caller) -> Sequence[str]:
    if hypothesis.settings.get_current_profile_name() == "many":
        return MANY
    return OF_ADMINISTRATORS if caller.role is Role.ADMINISTRATOR else OF_OTHERS
