"""A small HTTP server in each service, with `/metrics` for Prometheus and `/health/*` for process
supervisors.

The API answers health checks on its own port, so its instance of this server has `/metrics` only.
The server runs in threads of its own, so that a supervisor gets an answer even when the event loop
is stuck.
"""

import gzip
import json
import platform
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder, gzip_accepted

from shared.errors import SettingsError
from shared.release import RELEASE
from shared.telemetry import histogram, metrics

METRICS = "/metrics"
METHODS = ("GET", "HEAD")
#: The line that ends a response in the OpenMetrics format.
END = b"# EOF\n"
#: Compression level of metrics. Level 9, the default, takes four times as long and makes the
#: response only a tenth smaller.
GZIP_LEVEL = 1

#: A health check: it returns a description of each problem, or an empty list if there is none.
Check = Callable[[], list[str]]


@dataclass(frozen=True, slots=True)
class Health:
    """The health checks of a process. The server calls both from its own threads."""

    #: Liveness check: returns the reasons why the process must be replaced, such as a background
    #: loop that is stuck.
    live: Check
    #: Readiness check: returns the reasons why the process cannot work right now, although it is
    #: alive.
    ready: Check


def serve(host: str, port: int, health: Health | None = None) -> int:
    """Start the server for metrics and health checks. Returns its port, which the operating system
    chooses if `port` is 0.

    Raises SettingsError if the server cannot listen on the port.
    """
    server_class = _ThreadsOverIPv6 if ":" in host else _Threads
    try:
        server = make_server(host, port, _application(health), server_class, handler_class=_Silent)
    except OSError as error:
        raise SettingsError(
            f"OFTEN_METRICS_HOST and OFTEN_METRICS_PORT: cannot listen on {host}, port {port} ({error}); "
            "choose an address of this machine and a free port"
        ) from None
    metrics.BUILD_INFO.labels(RELEASE, platform.python_version()).set(1)
    threading.Thread(target=server.serve_forever, name="exposition", daemon=True).start()
    return int(server.server_port)


def _application(health: Health | None) -> Any:
    checks = {"/health/live": health.live, "/health/ready": health.ready} if health else {}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path != METRICS and path not in checks:
            detail = f"not found; try {', '.join([METRICS, *checks])}"
            return _answer(start_response, HTTPStatus.NOT_FOUND, {"detail": detail})
        if method not in METHODS:
            detail = f"this address takes {' and '.join(METHODS)} only"
            return _answer(start_response, HTTPStatus.METHOD_NOT_ALLOWED, {"detail": detail})
        if path == METRICS:
            answer = _exposed(environ, start_response)
        else:
            answer = _checked(start_response, checks[path]())
        return answer if method == "GET" else []

    return application


def _exposed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with the metrics in the format that the scraper asks for, and with the Content-Length
    header that an answer to HEAD needs.
    """
    encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
    headers = [("Content-Type", content_type)]
    body = _with_histograms(encode(REGISTRY))
    if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
        body = gzip.compress(body, GZIP_LEVEL)
        headers.append(("Content-Encoding", "gzip"))
    start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
    return [body]


def _with_histograms(encoded: bytes) -> bytes:
    """Append the histograms to the encoded metrics. Only the OpenMetrics format has exemplars and
    an end marker.
    """
    end = END if encoded.endswith(END) else b""
    return encoded.removesuffix(END) + histogram.text(exemplars=bool(end)).encode() + end


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
    """A request handler without an access log, because supervisors send a request every few
    seconds.
    """

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the access log line of a request."""
