"""Creates TLS certificates for tests, signed by a certificate authority that the test creates."""

import datetime
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
EXPIRED, VALID = NOW - DAY, NOW + DAY


@dataclass(frozen=True)
class Authority:
    """A certificate authority that exists only for one test."""

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
        """Issue a certificate for a host, and write it with its key to `server.crt` and
        `server.key` in the folder.
        """
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
