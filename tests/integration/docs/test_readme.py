"""Tests that the README's commands and code run unchanged."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local import mail as catcher
from shared.testing import run_inline
from tests.api_process import Api
from tests.pages import Block, blocks
from tests.platform import ROOT, Platform

BLOCKS = blocks(ROOT / "README.md")

#: Code blocks of the README that this test does not execute. Key: a part of the block's text;
#: value: the reason.
NOT_EXECUTED = {
    "make run ": "it starts a whole system; tests/e2e/test_local_system.py does that, and runs the demo",
    "make test ": "it runs all tests, this one among them; the test below looks for the targets",
    "flowchart": "it is a picture",
}


def the(part: str) -> Block:
    """The only code block of the README that contains this text."""
    (block,) = (each for each in BLOCKS if part in each.code)
    return block


def test_every_block_is_executed_or_has_a_reason() -> None:
    executed = {"auth/register", "@task(GREET)"}
    assert all(the(part) for part in executed | NOT_EXECUTED.keys())
    assert len(BLOCKS) == len(executed | NOT_EXECUTED.keys())


@pytest.mark.hotel
async def test_the_first_request_sends_a_mail(platform: Platform, tmp_path: Path) -> None:
    api = Api(platform)
    await api.start()
    for folder in ("run", "mail"):
        (tmp_path / "var" / folder).mkdir(parents=True)
    (tmp_path / "var/run/system.json").write_text(json.dumps({"api": api.url}))

    async with await catcher.serve(0, tmp_path / "var/mail") as server:
        smtp_port = str(server.sockets[0].getsockname()[1])
        await platform.start_worker(SMTP_HOST=catcher.HOST, SMTP_PORT=smtp_port, OFTEN_PUBLIC_URL=api.url)
        ended = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euc", the("auth/register").code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        welcome = "SELECT id, queue FROM task WHERE name = 'email.send_welcome'"
        (row,) = await platform.rows(welcome)
        await platform.until(row["id"], "success")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    listed = json.loads(ended.stdout[ended.stdout.index('{"items"') :])["items"]
    assert [task["task_name"] for task in listed] == ["email.send_welcome"]
    assert row["queue"] == "email"


def test_the_first_request_needs_no_new_curl() -> None:
    assert "--json" not in the("auth/register").code


async def test_the_smallest_task_runs() -> None:
    code = the("@task(GREET)").code
    lines = [line for line in code.splitlines() if line and not line.startswith("from ")]
    assert len(lines) <= 10
    defined: dict[str, Any] = {}
    exec(code, defined)
    run = await run_inline(defined["greet"], defined["Greet"](guest="Asha"))
    assert run.result == defined["Greeted"](text="Hello Asha!")


def test_the_makefile_has_every_target_that_the_page_names() -> None:
    named = {target for block in BLOCKS for target in re.findall(r"^make (\w+)", block.code, re.MULTILINE)}
    assert named == {"run", "demo", "test", "check"}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets
