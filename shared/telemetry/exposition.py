"""A small HTTP server beside each service: `/metrics` for Prometheus, and `/health/*` for supervisors.

The API answers health checks on its own port, so here it has `/metrics` only.

It answers in threads of its own, so that it also answers while the event loop is stuck; that is when a
supervisor has to hear about it.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from shared.errors import SettingsError

METRICS = "/metrics"
METHODS = ("GET", "HEAD")

#: Returns what is wrong, in words; nothing when all is well.
Check = Callable[[], list[str]]


@dataclass(frozen=True, slots=True)
class Health:
    """What a process says about itself. Both checks are asked from threads of the server."""

    #: Why the process should be replaced: background loops that do not turn.
    live: Check
    #: Why the process cannot work right now, although it lives.
    ready: Check


def serve(host: str, port: int, health: Health | None = None) -> int:
    """Start the server; returns its port, which the system chooses when `port` is 0.

    Raises SettingsError when it cannot listen there.
    """
    server_class = _ThreadsOverIPv6 if ":" in host else _Threads
    try:
        server = make_server(host, port, _application(health), server_class, handler_class=_Silent)
    except OSError as error:
        raise SettingsError(
            f"OFTEN_METRICS_HOST and OFTEN_METRICS_PORT: cannot listen on {host}, port {port} ({error}); "
            "choose an address of this machine and a free port"
        ) from None
    threading.Thread(target=server.serve_forever, name="exposition", daemon=True).start()
    return int(server.server_port)


def _application(health: Health | None) -> Any:
    exposition: Any = make_wsgi_app()
    checks = {"/health/live": health.live, "/health/ready": health.ready} if health else {}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path != METRICS and path not in checks:
            detail = f"there is nothing here; try {', '.join([METRICS, *checks])}"
            return _answer(start_response, HTTPStatus.NOT_FOUND, {"detail": detail})
        if method not in METHODS:
            detail = f"this address takes {' and '.join(METHODS)} only"
            return _answer(start_response, HTTPStatus.METHOD_NOT_ALLOWED, {"detail": detail})
        if path == METRICS:
            answer = _exposed(exposition, environ, start_response)
        else:
            answer = _checked(start_response, checks[path]())
        return answer if method == "GET" else []

    return application


def _exposed(exposition: Any, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The metrics with their length, which the answer to HEAD needs."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    body = b"".join(exposition({**environ, "REQUEST_METHOD": "GET"}, lambda *given: started.append(given)))
    ((status, headers),) = started
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]


def _checked(start_response: Any, problems: list[str]) -> Iterable[bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    document = {"status": "failing" if problems else "ok", "problems": problems}
    return _answer(start_response, status, document)


def _answer(start_response: Any, status: HTTPStatus, document: dict[str, Any]) -> Iterable[bytes]:
    body = json.dumps(document).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", ", ".join(METHODS)))
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ThreadsOverIPv6(_Threads):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    """Writes no access log: supervisors ask every few seconds."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
