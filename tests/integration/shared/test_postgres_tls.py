"""TLS to Postgres: what is wrong with a certificate is said at the start, in 503s and by the health check."""

import contextlib
import datetime
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from litestar.testing import AsyncTestClient

from local.postgres import HOST
from services.api import app
from shared import settings as settings_module
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from tests.eventually import eventually
from tests.platform import VAULT_KEYS, Platform

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
EXPIRED, VALID = NOW - DAY, NOW + DAY


@dataclass(frozen=True)
class Authority:
    """A CA that exists for this test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"the CA {secrets.token_hex(4)} of a test")
        certificate = _builder(name, name, key, VALID).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(key, certificate.sign(key, hashes.SHA256()))

    def file(self, folder: Path) -> str:
        path = folder / f"{secrets.token_hex(4)}.crt"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def issue(self, host: str, until: datetime.datetime, folder: Path) -> None:
        """Write `server.crt` and `server.key`."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(host), self.certificate.subject, key, until)
        alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = builder.add_extension(alternative, critical=False).sign(self.key, hashes.SHA256())
        (folder / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "server.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 2 * DAY)
        .not_valid_after(until)
    )


class Secured:
    """A test's Postgres behind TLS, which the embedded build lacks."""

    def __init__(self, url: str, folder: Path) -> None:
        self._server = urlsplit(url)
        self._folder = folder
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._open: list[socket.socket] = []
        self.authority = Authority.new()
        self.url = url

    def present(self, host: str, until: datetime.datetime) -> None:
        """Present this certificate from the next connection on."""
        self.authority.issue(host, until, self._folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self._folder / "server.crt", self._folder / "server.key")

    def with_ca(self, authority: Authority) -> str:
        """The URL of a client that trusts this CA and checks the host."""
        return f"{self.url}?sslmode=verify-full&sslrootcert={authority.file(self._folder)}"

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """In threads: what fails at TLS then closes its socket at once."""
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
            client.recv(8)  # the client asks for TLS
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


async def test_a_certificate_that_is_not_accepted_is_named_as_the_cause(secured: Secured) -> None:
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


async def test_the_api_starts_answers_503_and_says_what_is_wrong(
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


async def test_the_start_of_a_process_says_it_in_one_line(secured: Secured, platform: Platform) -> None:
    url = secured.with_ca(Authority.new())
    worker = platform.start("tests.sample_worker", DATABASE_URL=url)
    line = "starting without Postgres: TLS with Postgres fails: unable to get local issuer certificate"
    await eventually(lambda: line in platform.log_of(worker))
    await eventually(lambda: "waiting for Postgres: TLS" in platform.log_of(worker))
    assert "Traceback" not in platform.log_of(worker)
