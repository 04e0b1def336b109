"""Tests of TLS to Postgres: the start of a service, its 503 answers and its health check say what
is wrong with a certificate.
"""

import contextlib
import datetime
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from litestar.testing import AsyncTestClient

from local.postgres import HOST
from services.api import app
from shared import settings as settings_module
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from tests.certificates import EXPIRED, VALID, Authority
from tests.eventually import eventually
from tests.platform import VAULT_KEYS, Platform


class Secured:
    """A Postgres behind a TLS proxy, because the embedded build of Postgres has no TLS."""

    def __init__(self, url: str, folder: Path) -> None:
        self._server = urlsplit(url)
        self._folder = folder
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._open: list[socket.socket] = []
        self.authority = Authority.new()
        self.url = url

    def present(self, host: str, until: datetime.datetime) -> None:
        """Let the proxy present this certificate from the next connection on."""
        self.authority.issue(host, until, self._folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self._folder / "server.crt", self._folder / "server.key")

    def with_ca(self, authority: Authority) -> str:
        """A DATABASE_URL for a client that trusts this certificate authority and checks the host
        name.
        """
        return f"{self.url}?sslmode=verify-full&sslrootcert={authority.file(self._folder)}"

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Run the proxy in threads, so that a failed TLS handshake closes its socket at once."""
        with socket.create_server((HOST, 0)) as listening:
            port = listening.getsockname()[1]
            self.url = self.url.replace(f"{HOST}:{self._server.port}/", f"localhost:{port}/")
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
            try:
                yield self
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                for each in self._open:
                    each.close()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(8)  # the client's request to switch to TLS
            client.sendall(b"S")
            place: Any = (self._server.hostname, self._server.port)
            with (
                self._context.wrap_socket(client, server_side=True) as secure,
                socket.create_connection(place) as plain,
            ):
                self._open += [secure, plain]
                threading.Thread(target=_forward, args=(plain, secure), daemon=True).start()
                _forward(secure, plain)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def secured(database_url: str, tmp_path: Path) -> Iterator[Secured]:
    made = Secured(database_url, tmp_path)
    made.present("localhost", VALID)
    with made.serving():
        yield made


async def refusal(url: str) -> str | None:
    try:
        await Database.for_service(url, "test").run("SELECT 1")
    except ServerUnavailable as error:
        return str(error)
    return None


async def test_an_error_names_the_rejected_certificate_as_its_cause(secured: Secured) -> None:
    right = secured.with_ca(secured.authority)
    assert await refusal(right) is None
    assert "unable to get local issuer certificate" in str(await refusal(secured.with_ca(Authority.new())))
    secured.present("elsewhere.example", VALID)
    assert "Hostname mismatch" in str(await refusal(right))
    secured.present("localhost", EXPIRED)
    said = await refusal(right)
    assert said == (
        "TLS with Postgres fails: certificate has expired; check sslmode and sslrootcert in DATABASE_URL"
    )


async def test_the_api_starts_answers_503_and_names_the_cause(
    secured: Secured, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {
        "DATABASE_URL": secured.with_ca(Authority.new()),
        "REDIS_URL": redis_url,
        "SECRET_KEY": secrets.token_hex(32),
        "OFTEN_VAULT_KEYS": VAULT_KEYS,
    }
    settings = settings_module.read(environment)
    async with AsyncTestClient(app.build(settings)) as client:
        ready = await client.get("/health/ready")
        answer = await client.post("/api/v1/auth/login", json={"email": "a@b.example", "password": "x" * 12})
    cause = "TLS with Postgres fails: unable to get local issuer certificate"
    assert ready.status_code == answer.status_code == 503
    assert ready.json()["servers"]["postgres"].startswith(f"away: {cause}")
    assert answer.json()["detail"].startswith(cause)
    assert cause in caplog.text


async def test_a_process_logs_the_cause_in_one_line_at_its_start(
    secured: Secured, platform: Platform
) -> None:
    url = secured.with_ca(Authority.new())
    worker = platform.start("tests.sample_worker", DATABASE_URL=url)
    line = "starting without Postgres: TLS with Postgres fails: unable to get local issuer certificate"
    await eventually(lambda: line in platform.log_of(worker), 90)
    await eventually(lambda: "waiting for Postgres: TLS" in platform.log_of(worker), 90)
    assert "Traceback" not in platform.log_of(worker)
