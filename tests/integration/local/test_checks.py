"""Tests of the launcher's checks of processes, over real sockets."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local import checks

Serve = Callable[[dict[str, int]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts an HTTP server.

    It answers the given paths with the given statuses, and all others with 404. Returns the port.
    """
    servers: list[ThreadingHTTPServer] = []

    def start(statuses: dict[str, int]) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(statuses.get(self.path, 404))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer((checks.HOST, 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return server.server_address[1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("statuses", "ready"),
    [
        ({"/health/ready": 200}, True),
        ({"/health/ready": 503, "/metrics": 200}, False),
        ({"/metrics": 200}, True),
        ({}, False),
    ],
)
def test_a_service_is_ready_when_its_check_says_so_or_without_one_its_metrics(
    serve: Serve, statuses: dict[str, int], ready: bool
) -> None:
    assert checks.is_ready(serve(statuses)) is ready


@pytest.mark.parametrize("statuses", [{"/health/live": 200}, {}])
def test_a_service_that_works_or_has_no_liveness_check_has_no_trouble(
    serve: Serve, statuses: dict[str, int]
) -> None:
    assert checks.trouble(serve(statuses)) is None


def test_a_service_that_is_alive_without_working_has_a_trouble(serve: Serve) -> None:
    trouble = checks.trouble(serve({"/health/live": 503}))

    assert trouble is not None
    assert trouble.endswith("/health/live answers 503")


def test_a_service_that_does_not_answer_has_a_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "TIMEOUT_S", 0.1)
    with socket.create_server((checks.HOST, 0)) as silent:
        trouble = checks.trouble(silent.getsockname()[1])

    assert trouble is not None
    assert trouble.endswith("/health/live does not answer")


def test_only_the_process_that_listens_holds_a_port() -> None:
    with (
        socket.create_server((checks.HOST, 0)) as server,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other,
    ):
        port = server.getsockname()[1]

        assert checks.listens(os.getpid(), port)
        assert not checks.listens(other.pid, port)
        other.communicate(b"\n")
    assert not checks.listens(other.pid, port)
