"""Tests of the launcher's supervision, with small programs under a real supervisord: slow ones,
broken ones, and ones whose code changes.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from local import checks, ports, reloading, startup, supervision, system
from local.configuration import Program
from local.errors import LaunchError
from local.programs import Member
from local.startup import until_all_answer
from local.supervision import Supervisor, supervising
from tests.eventually import eventually

CODE = """\
import http.server, sys, time
from pathlib import Path
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
while not Path("may-listen").exists():
    time.sleep(0.05)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LIMIT_S = 30

Supervised = Callable[[Member], AbstractAsyncContextManager[Supervisor]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(system, "ROOT", tmp_path)
    monkeypatch.setattr(system, "LOGS", tmp_path)
    (tmp_path / "services" / "worker").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def supervised(folder: Path) -> Supervised:
    """Run one service under supervisord inside this context."""

    @asynccontextmanager
    async def run(member: Member) -> AsyncIterator[Supervisor]:
        environment = dict(os.environ)
        async with supervising(folder, folder, environment, servers=[], services=[member.program]) as running:
            await running.start_services()
            yield running

    return run


def worker(folder: Path, code: str = CODE) -> Member:
    """A service like a worker, whose whole program is one file."""
    file = folder / "services" / "worker" / "code.py"
    file.write_text(code)
    port = ports.pick("worker")["worker"]
    command = [sys.executable, "-B", "-u", str(file), str(port)]
    program = Program(name="worker-1", command=command, directory=folder, stop_within_s=5)
    return Member(program, port, partial(checks.serves, port, "/"))


async def test_a_slow_process_is_waited_for_and_named(
    folder: Path,
    supervised: Supervised,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(startup, "REMIND_S", 0.2)
    member = worker(folder)
    async with supervised(member) as supervisor, asyncio.timeout(LIMIT_S):
        waiting = asyncio.create_task(until_all_answer([member], supervisor))
        await eventually(lambda: "Still waiting for worker-1 after" in capsys.readouterr().out)
        assert not waiting.done()

        (folder / "may-listen").touch()
        await waiting


async def test_the_answer_of_another_program_on_the_same_port_does_not_count(
    folder: Path, supervised: Supervised
) -> None:
    (folder / "may-listen").touch()
    member = worker(folder)
    member = Member(member.program, member.port, answers=lambda: True)
    with socket.create_server((checks.HOST, member.port)):
        async with supervised(member) as supervisor, asyncio.timeout(LIMIT_S):
            with pytest.raises(LaunchError, match=rf"^Port {member.port} is taken .*Address already in use"):
                await until_all_answer([member], supervisor)


async def test_a_process_that_ends_is_reported_with_its_last_words(
    folder: Path, supervised: Supervised
) -> None:
    member = worker(folder, "raise SystemExit('REDIS_URL is wrong.')")
    async with supervised(member) as supervisor, asyncio.timeout(LIMIT_S):
        with pytest.raises(LaunchError, match=r"^worker-1 ended: REDIS_URL is wrong\. Its log: "):
            await until_all_answer([member], supervisor)


async def test_a_saved_file_restarts_its_service_and_a_broken_one_waits_for_the_next_save(
    folder: Path, supervised: Supervised, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "may-listen").touch()
    member = worker(folder)
    file = folder / "services" / "worker" / "code.py"
    output = ""

    def shows(text: str) -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return text in output

    async with supervised(member) as supervisor, asyncio.timeout(LIMIT_S):
        async with reloading.reloading([member], supervisor, reloading.owners([member], "")):
            await until_all_answer([member], supervisor)
            first = (await supervisor.processes())["worker-1"].pid

            file.write_text("def broken(:\n")
            await eventually(lambda: shows("Save the corrected file"), LIMIT_S)
            file.write_text(CODE)
            await eventually(lambda: shows("New code runs after"), LIMIT_S)

        assert (await supervisor.processes())["worker-1"].pid != first
    assert "services/worker/code.py changed: restarting worker-1." in output
    assert f"worker-1 ended: SyntaxError: invalid syntax ({file}, line 1). Its log: " in output


async def test_a_supervisor_that_hangs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "ASK_S", 0.1)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()

        with pytest.raises(LaunchError, match="supervisord does not answer"):
            await Supervisor(process, tmp_path / "socket").processes()
