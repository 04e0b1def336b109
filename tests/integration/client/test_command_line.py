"""Tests of the command line `often`, against real API and worker processes."""

import asyncio
import json
import re
import secrets
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from click.testing import CliRunner

from often_client import Client
from often_client.cli.often import often, run
from tests.api_process import Api
from tests.platform import ROOT, Platform
from tests.unit.client.test_command_line import HOSTILE

PASSWORD = "a horse, a battery"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Often = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def api(platform: Platform) -> Api:
    api = Api(platform)
    await api.start()
    return api


@pytest.fixture
async def command(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Often:
    """A function that runs command lines of `often` as an operator who has signed in."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    email = f"{secrets.token_hex(8)}@often.example"
    with Client(api.url) as client:
        account = client.register(email, PASSWORD)
    await api.platform.rows("UPDATE account SET role = 'operator' WHERE id = {}", account.id)
    arguments = ["--api", api.url, "login", "--email", email]
    signed_in = await asyncio.to_thread(CliRunner().invoke, often, arguments, input=f"{PASSWORD}\n")
    assert "(operator)" in signed_in.output
    capsys.readouterr()

    async def command(*arguments: object) -> Ended:
        code = await asyncio.to_thread(run, [str(each) for each in arguments])
        return Ended(code, *capsys.readouterr())

    return command


async def test_tasks_are_submitted_listed_shown_canceled_and_reproduced(
    platform: Platform, command: Often, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.start_worker()
    submitted = await command("submit", "system.health_check", "--wait")
    assert submitted.code == 0, submitted.err
    task_id, line = submitted.out.splitlines()
    assert line.split("\t")[:4] == [task_id, "success", "system.health_check", "default"]
    assert (await command("tasks", "--status", "success", "--limit", 1)).out == f"{line}\n"
    shown = json.loads((await command("task", task_id, "--json")).out)
    assert shown == {
        **shown,
        "id": task_id,
        "status": "success",
        "result": {**shown["result"], "status": "healthy"},
    }
    assert (await command("submit", "system.health_check", "--delay", 3_600)).code == 0
    chosen = ("--name", "system.health_check", "--created-after", "1h")
    asked = await command("bulk", "run", "cancel", *chosen)
    assert (asked.code, "Add --yes" in asked.err) == (2, True)
    canceled = await command("bulk", "run", "cancel", *chosen, "--status", "pending", "--yes", "--wait")
    assert (canceled.code, canceled.out.splitlines()[1].split("\t")[1:5]) == (
        0,
        ["completed", "cancel task", "1", "1"],
    )
    followed = await command("task", task_id, "--follow")
    assert (followed.code, "success system.health_check 100%" in followed.out) == (0, True)

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DATABASE_URL", platform.database_url)
    monkeypatch.setenv("REDIS_URL", platform.redis_url)
    assert (await command("reproduce", task_id, "--real")).code == 0


async def test_exit_codes_say_what_was_wrong_and_queues_are_paused(api: Api, command: Often) -> None:
    unknown = await command("task", uuid4())
    assert (unknown.code, "There is no task" in unknown.err) == (4, True)
    refused = await command("submit", "system.health_check", "x=1")
    assert (refused.code, "params.x: is not a known field" in refused.err) == (3, True)
    assert (await command("tasks", "--limit", "none")).code == 2
    # `often status` fails, because no scheduler runs and so there is no leader.
    status = await command("status")
    assert (status.code, "✕" in status.out) == (1, True)
    assert (await command("doctor")).code == 1
    assert (await command("--api", "http://127.0.0.1:9", "doctor")).code == 5
    # The stored credentials are sent only to the API that issued them, so this address gets none.
    assert (await command("--api", "http://127.0.0.1:9", "tasks")).code == 3

    assert (await command("pause", "maintenance", "--reason", "the disk is full")).code == 0
    paused = (await command("queues")).out.splitlines()
    assert [each.split("\t")[-1] for each in paused if each.startswith("maintenance\tpaused")] == [
        "the disk is full"
    ]
    assert (await command("resume", "maintenance")).code == 0
    schedules = (await command("schedules", "--json")).out.splitlines()
    assert all({"name", "expression", "next_fire_times"} <= json.loads(each).keys() for each in schedules)
    audited = (await command("audit", "--action", "queue.paused")).out
    assert "queue maintenance" in audited
    assert (await command("purge", "maintenance", "--yes")).code == 3
    assert await command("errors", "--state", "open", "--json") == Ended(0, "", "")
    assert (await command("error", "v2:unknown", "mute", "--until", "2h")).code == 4
    assert await command("workflows", "--status", "failure") == Ended(0, "", "")


async def test_hostile_text_reaches_no_terminal_and_the_key_is_private(
    platform: Platform, api: Api, command: Often, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = (await command("submit", "system.health_check", "--delay", 3_600)).out.strip()
    long = HOSTILE + "x" * 10_000
    await platform.rows("UPDATE task SET wait_reason = {} WHERE true", long)
    for arguments in (("tasks",), ("tasks", "--json"), ("task", task_id)):
        out = (await command(*arguments)).out
        assert "gnp.exe" in out
        assert not {"\x1b", "\u202e", "\x9b"} & {*out}
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("NO_COLOR", "1")
    table = (await command("tasks")).out
    assert "\\x1b[2J\\u202e" in table
    assert "\x1b[2J" not in table
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in table.splitlines()) <= 140

    file = tmp_path / "often/default.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = json.loads(file.read_text())["key"]
    revoked = await asyncio.to_thread(
        CliRunner().invoke, often, ["logout", "--revoke"], input=f"{PASSWORD}\n"
    )
    assert (revoked.exit_code, file.exists()) == (0, False)
    assert (await command("tasks")).code == 3
    monkeypatch.setenv("OFTEN_API", api.url)
    monkeypatch.setenv("OFTEN_TOKEN", key)
    ended = await command("tasks")
    assert (ended.code, "often login" in ended.err) == (3, True)
