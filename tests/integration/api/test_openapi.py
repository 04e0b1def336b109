"""The API keeps to its own OpenAPI document, whatever it is asked, for every kind of caller.

The requests are made up from the document. `--hypothesis-profile=many` makes up more of them.
"""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

from cli.client import Client
from shared.identity.tables import Role
from tests.api_process import Api
from tests.platform import Platform

PASSWORD = "a horse, a battery"
#: How many requests are made up per operation and phase; bounds the time. Without `--phases`, those that the
#: document suggests come on top: they take most of the time and hardly depend on the role.
OF_ADMINISTRATORS = ("--max-examples", "3")
OF_OTHERS = ("--max-examples", "2", "--phases", "fuzzing")
MANY = ("--max-examples", "100")
#: A document cannot say which cursors, addresses or combinations of fields there are.
LEFT_OUT = "positive_data_acceptance"
#: Requests to these end the session of the caller. They have a run of their own.
ENDING = r"^/api/v1/auth/(logout|logout-all|password)$"
#: Answers without end, and one for which a request may wait for a minute.
ENDLESS = r"/(events|result)$"


class Caller(NamedTuple):
    """Who sends the requests."""

    #: None: the requests carry no credentials.
    role: Role | None
    #: None: a session.
    scopes: Sequence[str] | None = None
    #: Operations that are asked or left out.
    choice: tuple[str, str] = ("--exclude-path-regex", f"{ENDING}|{ENDLESS}")
    #: Its account, beside the administrator's.
    email: str = "caller@often.example"


CALLERS = {
    "nobody": Caller(None),
    **{role.value: Caller(role) for role in Role},
    "a key with few scopes": Caller(Role.OPERATOR, ["tasks:read", "accounts:read"]),
    "one who signs out": Caller(Role.USER, choice=("--include-path-regex", ENDING)),
}


@pytest.mark.long
@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS.keys())
async def test_the_api_keeps_to_its_document(caller: Caller, platform: Platform, tmp_path: Path) -> None:
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
        # Credentials that ended on the way would have made the later requests anonymous.
        with Client(api.url) as client:
            client._http.headers.update(credentials)
            assert client.me().email == caller.email


async def _credentials(caller: Caller, api: Api, platform: Platform) -> dict[str, str]:
    """Headers of the caller. There are tasks of an administrator, too."""
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
            return {"Authorization": client._http.headers["Authorization"]}
        made = client._http.post("keys", json={"name": "fuzz", "scopes": list(caller.scopes)})
        return {"Authorization": f"Bearer {made.json()['key']}"}


def _command(url: str, caller: Caller, credentials: dict[str, str]) -> list[str]:
    headers = [part for name, value in credentials.items() for part in ("--header", f"{name}: {value}")]
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/v1/schema/openapi.json"),
        *headers,
        *caller.choice,
        *_extent(caller),
        *("--exclude-checks", LEFT_OUT, "--generation-deterministic", "--continue-on-failure", "--no-color"),
    ]


def _extent(caller: Caller) -> Sequence[str]:
    if hypothesis.settings.get_current_profile_name() == "many":
        return MANY
    return OF_ADMINISTRATORS if caller.role is Role.ADMINISTRATOR else OF_OTHERS
