"""What makes a browser's push subscription and our own key good; shared by who takes it and who uses it.

Endpoints come from clients, so they must not lead our requests inside. Only the text is looked at here; where
a name really leads is seen when it is connected to.
"""

import base64
import re
from urllib.parse import SplitResult, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LONGEST_ENDPOINT = 1_000
POINT_BYTES, AUTH_BYTES, PRIVATE_BYTES = 65, 16, 32
#: SEC 1: what an uncompressed point begins with.
UNCOMPRESSED = 4
#: Ends of names that never are in the public DNS (RFC 6761, 6762, 8375, 9476 and custom).
PRIVATE_ENDS = frozenset(
    {
        *("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "localdomain"),
        *("arpa", "invalid", "test", "onion", "alt"),
    }
)

#: The port of https. Below FIRST_FREE_PORT are other services; above, those that the Fetch standard blocks.
HTTPS, FIRST_FREE_PORT = 443, 1_024
BLOCKED_PORTS = frozenset(
    {
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669),
        *(6679, 6697, 10080),
    }
)

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
#: With a dot, and a last label that no resolver takes for a part of an IPv4 address.
_PUBLIC_NAME = re.compile(rf"({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?", re.IGNORECASE)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def check_endpoint(url: str, sandbox_url: str) -> None:
    """Raises ValueError; what lies under `sandbox_url`, unless that is empty, is good."""
    if sandbox_url and url.startswith(f"{sandbox_url.rstrip('/')}/"):
        return
    if len(url) > LONGEST_ENDPOINT:
        raise ValueError(f"endpoint must have at most {LONGEST_ENDPOINT} characters")
    parts = _split(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        raise ValueError("endpoint must begin with https://")
    if "@" in parts.netloc:
        raise ValueError("endpoint must be without user and password")
    if not _PUBLIC_NAME.fullmatch(host) or host.rpartition(".")[2].lower() in PRIVATE_ENDS:
        raise ValueError("endpoint must be on a public host that is given by its name")
    port = HTTPS if parts.port is None else parts.port
    if port != HTTPS and (port < FIRST_FREE_PORT or port in BLOCKED_PORTS):
        raise ValueError(
            f"endpoint must have port {HTTPS}, or one from {FIRST_FREE_PORT} that browsers allow"
        )


def _split(url: str) -> SplitResult:
    """Raises ValueError for what is no URL, or one with an impossible port."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("endpoint must be a URL") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("endpoint must be a URL")
    return parts


def check_keys(p256dh: str, auth: str) -> None:
    """Both base64url, with or without padding; raises ValueError."""
    try:
        point, secret = decode(p256dh), decode(auth)
    except ValueError:
        raise ValueError("keys must be base64url") from None
    if len(point) != POINT_BYTES or point[0] != UNCOMPRESSED:
        raise ValueError(f"keys must have a p256dh of {POINT_BYTES} bytes, an uncompressed point")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise ValueError("keys must have a p256dh that is a point of the curve P-256") from None
    if len(secret) != AUTH_BYTES:
        raise ValueError(f"keys must have an auth of {AUTH_BYTES} bytes")


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Read base64url of a scalar of 32 bytes; raises ValueError."""
    try:
        scalar = decode(text)
        if len(scalar) != PRIVATE_BYTES:
            raise ValueError
        return ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1())
    except ValueError:
        # Without the cause: it may quote the key.
        raise ValueError("must be base64url of the 32 bytes of a P-256 private key") from None


def public_key(private: str) -> str:
    """base64url of the uncompressed point, as a browser's `applicationServerKey` has it."""
    point = private_key(private).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return encode(point)


def decode(text: str) -> bytes:
    """Read base64url; raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("must be base64url")
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def encode(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
