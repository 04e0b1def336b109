"""Tests of the command line when the API goes away or refuses, another program answers, or the
output is not read.
"""

import io
import json
import os
import select
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from local.ports import pick
from often_client.cli.often import run
from tests.certificates import VALID, Authority
from tests.integration.client.stub_api import Answer, Answering, Asked, StubApi, problem

IDS = [UUID(int=number) for number in (1, 2, 3)]
NOW = "2026-11-30T08:00:00Z"
Start = Callable[[Answering], StubApi]
TASK_STATE = {
    "task_id": str(IDS[0]),
    "revision": 1,
    "status": "started",
    "task_name": "a.b",
    "queue": "q",
    "owner": 7,
    "progress_current": 1,
    "progress_total": 2,
    "progress_percentage": 50,
    "progress_message": None,
    "workflow": None,
    "step": None,
}
READY = Answer(body={"status": "ready", "servers": {"postgres": "ok", "redis": "ok"}})
ME = Answer(
    body={
        "id": 7,
        "email": "asha@often.example",
        "full_name": None,
        "is_active": True,
        "role": "user",
        "created_at": NOW,
        "verified": True,
    }
)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a stub API. Commands that run afterwards use this stub."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("OFTEN_TOKEN", "often_x_y")
    with ExitStack() as running:

        def start(answer: Answering) -> StubApi:
            stub = running.enter_context(StubApi(answer).serving())
            monkeypatch.setenv("OFTEN_API", stub.url)
            return stub

        yield start


def task(task_id: UUID) -> dict[str, Any]:
    """A succeeded task, as the API answers it."""
    texts = {"task_name": "a.b", "task_type": "a", "status": "success", "queue": "q", "created_at": NOW}
    counts = ("priority", "progress_current", "progress_total", "progress_percentage", "attempt", "revision")
    absent = (
        *("owner", "result", "progress_message", "error_kind", "error_message", "error_traceback"),
        *("started_at", "completed_at", "execution_time_seconds", "scheduled_for", "expires_at", "worker"),
        *("wait_reason", "cancel_requested_at", "workflow", "step", "member"),
    )
    numbers = dict.fromkeys((*counts, "max_attempts", "failures", "crashes", "interruptions"), 1)
    return {"id": str(task_id), "params": {}, **texts, **numbers, **dict.fromkeys(absent)}


def page(count: int) -> Answer:
    return Answer(body={"items": [task(UUID(int=number)) for number in range(count)], "next_cursor": None})


def test_the_limit_of_a_wait_is_that_of_the_whole_command(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(asked: Asked) -> Answer:
        *_, task_id, part = asked.path.split("/")
        if part == "result":
            status = "success" if task_id == str(IDS[2]) else "pending"
            result = {"task_id": task_id, "status": status, "result": None, "error_kind": None}
            return Answer(body={**result, "error_message": None})
        return Answer(body=task(UUID(part)))

    stub = start(answer)
    assert run(["wait", *map(str, IDS), "--timeout", "0.2"]) == 1
    waited = [float(asked.query["wait_s"]) for asked in stub.asked if "wait_s" in asked.query]
    assert max(waited) <= 0.2
    assert waited[-2:] == [0, 0]
    out, err = capsys.readouterr()
    assert [line.split("\t")[:2] for line in out.splitlines()] == [[str(IDS[2]), "success"]]
    # Reported once for each unfinished task, and once for the whole wait.
    assert err.count("has not ended within 0.2 s") == 3


def test_what_was_done_is_printed_when_the_api_goes_away(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(asked: Asked) -> Answer | None:
        task_id = asked.path.rpartition("/")[2]
        done = {"task_id": task_id, "status": "revoked", "message": "canceled"}
        return Answer(body=done) if task_id == str(IDS[0]) else None

    start(answer)
    assert run(["cancel", *map(str, IDS)]) == 5
    out, err = capsys.readouterr()
    assert out == f"{IDS[0]}\trevoked\tcanceled\n"
    assert f"May have been done: {IDS[1]}\nNot done: {IDS[2]}\n" in err


def test_workers_after_a_refused_one_are_asked_too(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(asked: Asked) -> Answer:
        worker_id = asked.path.split("/")[-2]
        if worker_id == str(IDS[0]):
            return problem(404, "worker-not-found", "There is no such worker.")
        return Answer(body={"worker_id": worker_id, "asked": "drain", "message": "It drains."})

    start(answer)
    assert run(["drain", *map(str, IDS)]) == 4
    assert capsys.readouterr().err.count("It drains.") == 2


class Keyboard(io.StringIO):
    """Standard input that looks like a terminal, with what a user types there."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "purges"), [("y\n", 5, 2), ("n\n", 1, 0), ("", 1, 0)])
def test_a_purge_asks_first_and_says_how_far_it_came(
    start: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: int,
    purges: int,
) -> None:
    purged = iter([Answer(body={"queue": "mail", "canceled": 10_000, "more": True})])
    waiting = {"waiting": 12_000, "depth": {}, "oldest_age_s": 1.0, "due_later": 0, "paused": None}
    queue = Answer(body={"queue": "mail", **waiting, "may_pause": True, "workers": 1})
    stub = start(lambda asked: queue if asked.method == "GET" else next(purged, None))
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    assert run(["purge", "mail"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Cancel 12,000 waiting tasks of mail" in err
    assert ("Canceled 10,000 tasks of mail." in err) == (purges > 0)
    assert sum(asked.method == "POST" for asked in stub.asked) == purges


def test_changes_reach_a_reader_as_they_happen(start: Start) -> None:
    change = json.dumps({"tasks": [{**TASK_STATE, "progress_message": "page 1"}], "overflow": 0})
    # The stream tells the client to reconnect after a minute, so the command does not end.
    body = f"retry: 60000\n\nevent: change\ndata: {change}\n\n".encode()
    start(lambda _: Answer(body=body, headers={"Content-Type": "text/event-stream"}))
    with subprocess.Popen(
        [sys.executable, "-m", "often_client", "tasks", "--follow"], stdout=subprocess.PIPE, env=buffered()
    ) as following:
        assert following.stdout is not None
        readable, _, _ = select.select([following.stdout], [], [], 30)
        following.terminate()
        assert readable
        assert b"started a.b 50% page 1" in following.stdout.read()


@pytest.mark.parametrize("count", [1, 100])
def test_a_reader_that_leaves_ends_a_command_in_silence(start: Start, count: int) -> None:
    start(lambda _: page(count))
    assert ended_without_reader("tasks") == (0, b"")


def test_a_reader_that_leaves_ends_the_help_in_silence() -> None:
    assert ended_without_reader("--help") == (0, b"")


def buffered() -> dict[str, str]:
    """The environment without PYTHONUNBUFFERED, so that Python buffers its output as it usually
    does.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def ended_without_reader(command: str) -> tuple[int, bytes]:
    """Run a command that writes to a closed pipe. Returns its exit code and stderr."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        arguments = [sys.executable, "-m", "often_client", command]
        ended = subprocess.run(
            arguments, stdout=write_end, stderr=subprocess.PIPE, check=False, env=buffered()
        )
    finally:
        os.close(write_end)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("paths", "code", "said"),
    [
        ({}, 5, ["✕ address", "it is not the API", "--api"]),
        (
            {"ready": READY, "me": Answer(404, b"<html>nginx</html>")},
            1,
            ["✕ address", "does not come from the API", "must let /api pass"],
        ),
        (
            {"ready": READY, "me": problem(401, "not-signed-in", "The key has expired.")},
            1,
            ["✕ credentials", "refuses OFTEN_TOKEN: The key has expired.", "often login"],
        ),
        (
            {"ready": READY, "me": problem(403, "forbidden", "The key needs accounts:read.")},
            1,
            ["✕ rights", "The key needs accounts:read.", "ask an administrator"],
        ),
        (
            {"ready": READY, "me": ME, "health": problem(403, "forbidden", "Not for users.")},
            1,
            ["✓ credentials: asha@often.example, user", "✕ rights", "operations:read"],
        ),
        (
            {"ready": READY, "me": Answer(body={"account": 7})},
            1,
            ["✕ version", "missing required field `id`", "Install the client of the API's release."],
        ),
        (
            {"ready": READY, "me": ME, "health": problem(404, "not-found", "There is nothing here.")},
            1,
            ["✕ version", "There is nothing here."],
        ),
        (
            {
                "ready": Answer(503, {"status": "unavailable", "servers": {"postgres": "down"}}),
                "me": problem(503, "server-away", "Postgres is away."),
            },
            1,
            ["✕ api", "is unavailable (postgres down)", "Postgres is away."],
        ),
    ],
)
def test_doctor_names_the_fault_and_the_next_step(
    start: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    paths: dict[str, Answer],
    code: int,
    said: list[str],
) -> None:
    monkeypatch.setattr("often_client.client.time.sleep", lambda _: None)
    start(
        lambda asked: paths.get(asked.path.rpartition("/")[2], Answer(404, b"<html>another program</html>"))
    )
    assert run(["doctor"]) == code
    out = capsys.readouterr().out
    assert [each for each in said if each not in out] == [], out


def test_doctor_tells_why_nothing_answers(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    plain = start(lambda _: READY).url
    nothing = f"http://127.0.0.1:{pick('api')['api']}"
    said = {
        nothing: f"✕ reachable: nothing listens at {nothing}\n    Start the API",
        plain.replace("http", "https"): "✕ tls: no TLS connection to https://",
    }
    for address, words in said.items():
        assert run(["--api", address, "doctor"]) == 5
        assert words in capsys.readouterr().out
    assert run(["--api", "tasks.example", "doctor"]) == 2
    assert "must look like https://tasks.example" in capsys.readouterr().err


def test_a_certificate_of_an_own_authority_is_named_and_then_trusted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority.new()
    authority.issue("localhost", VALID, tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    monkeypatch.setenv("OFTEN_TOKEN", "often_x_y")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("often_client.client.time.sleep", lambda _: pytest.fail("it tries again"))
    with StubApi(lambda asked: READY if "health" in asked.path else ME, tls=tls).serving() as stub:
        api = stub.url.replace("127.0.0.1", "localhost")
        assert run(["--api", api, "doctor"]) == 5
        assert "is not trusted: unable to get local issuer certificate\n    Give" in capsys.readouterr().out
        assert run(["--api", api, "tasks"]) == 5
        assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err
        run(["--api", api, "--ca-file", authority.file(tmp_path), "doctor"])
        assert "✓ credentials: asha@often.example, user" in capsys.readouterr().out
