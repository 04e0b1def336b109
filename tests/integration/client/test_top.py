"""Tests of `often top` in a pseudo-terminal, against a stub API."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.integration.client.stub_api import Answer, Asked, StubApi, problem
from tests.unit.client.test_top import changed, facts, running

ONE, TWO = UUID(int=1), UUID(int=2)
LIMIT_S, POLL_S = 30.0, 0.05
SHOW_CURSOR, LEAVE_SCREEN = b"\x1b[?25h", b"\x1b[?1049l"
REFUSED = Answer(
    503,
    problem(503, "too-many-streams", "Your account has 20 event streams open.").body,
    {"Retry-After": "3600"},
)


def events(*changes: Any) -> Answer:
    """An event stream that ends after these changes, and asks the client to reconnect in a
    minute.
    """
    data = msgspec.json.encode({"tasks": changes, "overflow": 0})
    body = b'retry: 60000\n\nevent: state\ndata: {"since":"t1.1"}\n\nevent: change\ndata: %b\n\n' % data
    return Answer(body=body, headers={"Content-Type": "text/event-stream"})


class Terminal:
    """A process in a pseudo-terminal, and what it has written there so far."""

    def __init__(self, url: str, *arguments: str, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.written = b""
        environment = {**os.environ, "OFTEN_API": url, "OFTEN_TOKEN": "often_x_y", "TERM": "xterm"}
        command = [sys.executable, "-m", "often_client", "top", *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        self._slave = slave

    def until(self, *words: bytes) -> None:
        """Read from the terminal until all of these words have been written."""
        deadline = time.monotonic() + LIMIT_S
        while any(word not in self.written for word in words):
            assert time.monotonic() < deadline, self.written
            self.read()

    def read(self) -> None:
        """Read what the process has written, if there is anything."""
        readable, _, _ = select.select([self.master], [], [], POLL_S)
        if readable:
            self.written += os.read(self.master, 65_536)

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def ended(self) -> int:
        """Wait until the process has ended, and check that the terminal's settings are restored.

        Returns the exit code.
        """
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.written
            self.read()
        self.read()
        assert termios.tcgetattr(self._slave) == self.before
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[Terminal, StubApi]]]:
    """A function that starts `often top` against a stub API.

    The stub answers requests for the event stream as given.
    """
    with ExitStack() as stack:

        def start(stream: Answer, *arguments: str, **options: Any) -> tuple[Terminal, StubApi]:
            read = facts(running(ONE, 5.0))
            answers = {
                "health": read.health,
                "queues": {"items": read.queues},
                "workers": {"items": read.workers, "next_cursor": None},
                "series": read.series,
                "waits": read.waits,
                str(ONE): {"task_id": ONE, "status": "started", "message": "The body was asked to stop."},
            }

            def answer(asked: Asked) -> Answer:
                part = asked.path.rpartition("/")[2]
                if part == "events":
                    return stream
                return Answer(body=msgspec.json.encode(answers[part]))

            stub = stack.enter_context(StubApi(answer).serving())
            terminal = Terminal(stub.url, *arguments, **options)
            stack.callback(terminal.close)
            return terminal, stub

        yield start


Start = Callable[..., tuple[Terminal, StubApi]]


def test_changes_arrive_over_the_stream_and_sigterm_restores_the_terminal(start: Start) -> None:
    scan = msgspec.structs.replace(changed(TWO, "started", progress=3), task_name="hotels.refresh")
    terminal, stub = start(events(scan), "--every", "60", columns=60)
    terminal.until("● live".encode(), b"hotels.scan", b"hotels.refresh", b"75%")
    assert sum(asked.path.endswith("/workers") for asked in stub.asked) == 1
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.ended() == 128 + signal.SIGTERM
    assert terminal.written.count(LEAVE_SCREEN) == terminal.written.count(SHOW_CURSOR) == 1


def test_a_refused_stream_is_replaced_by_reading_and_ctrl_c_restores_the_terminal(start: Start) -> None:
    terminal, stub = start(REFUSED, "--every", "0.5", columns=120)
    terminal.until(b"not live", b"Not live: read every 0.5 s. Your account has 20 event streams open.")
    deadline = time.monotonic() + LIMIT_S
    while sum(asked.path.endswith("/workers") for asked in stub.asked) < 3:
        assert time.monotonic() < deadline
        terminal.read()
    assert sum(asked.path.endswith("/events") for asked in stub.asked) == 1
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.ended() == 130
    assert LEAVE_SCREEN in terminal.written


def test_keys_cancel_a_task_and_quit(start: Start) -> None:
    terminal, stub = start(events(), columns=100)
    terminal.until(b"hotels.scan")
    terminal.press(b"jc")
    terminal.until(b"cancel hotels.scan", b"y/n")
    terminal.press(b"y")
    terminal.until(b"The body was asked to stop.")
    assert [asked.path for asked in stub.asked if asked.method == "DELETE"] == [f"/api/v1/tasks/{ONE}"]
    terminal.press(b"q")
    assert terminal.ended() == 0
    assert LEAVE_SCREEN in terminal.written
