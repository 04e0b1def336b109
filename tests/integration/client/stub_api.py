"""A stub of the API, for tests that need answers that the real API does not give."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class Answer(NamedTuple):
    status: int = 200
    #: Body of the answer. Bytes are sent as they are, and any other value as JSON.
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 - a NamedTuple has no factories, and nothing changes it


#: Type of a function that answers requests. If it returns None, the stub closes the connection
#: without an answer.
Answering = Callable[[Asked], Answer | None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: Length of the listen backlog, so that many connections can be opened at the same time.
    request_queue_size = 128


class StubApi:
    """A stub API, which answers requests with a given function and records them."""

    def __init__(self, answer: Answering, *, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        #: The client's address of each connection that was opened.
        self.connections: list[object] = []
        self._answer = answer
        self._tls = tls
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator["StubApi"]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                stub.connections.append(self.client_address)
                super().setup()

            def answer(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                asked = Asked(self.command, parts.path, query, dict(self.headers))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.asked.append(asked)
                answer = stub._answer(asked)
                if answer is None:
                    self.close_connection = True
                    return
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                """Suppress the server's log lines."""

        server = _Server(("127.0.0.1", 0), Handler)
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            serving.join()
            server.server_close()


def problem(status: int, kind: str, detail: str) -> Answer:
    """An error answer as the API sends it."""
    return Answer(status, {"status": status, "type": f"urn:often:problem:{kind}", "detail": detail})
