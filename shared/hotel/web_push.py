"""Checks the push subscriptions of browsers, and the server's own key for Web Push.

The API and the worker use these checks. The URL in a subscription comes from a client, so it must
not lead our requests into the internal network. Only the text of the URL is checked here. The IP
address of its host is checked when the connection is made.
"""

import base64
import re
from urllib.parse import SplitResult, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_ENDPOINT_CHARS = 1_000
POINT_BYTES, AUTH_BYTES, PRIVATE_BYTES = 65, 16, 32
#: First byte of an uncompressed point on an elliptic curve (SEC 1).
UNCOMPRESSED = 4
#: Top-level labels of host names that are never in the public DNS (RFC 6761, 6762, 8375, 9476, and
#: others in common use).
PRIVATE_ENDS = frozenset(
    {
        *("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "localdomain"),
        *("arpa", "invalid", "test", "onion", "alt"),
    }
)

#: The port of https, and the lowest other port that the URL of a push service may use. Ports below
#: it belong to other services. The Fetch standard blocks some ports above it.
HTTPS, FIRST_FREE_PORT = 443, 1_024
BLOCKED_PORTS = frozenset(
    {
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669),
        *(6679, 6697, 10080),
    }
)

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
#: Matches the name of a public host. It requires a dot, and a last label that no resolver reads as
#: part of an IPv4 address.
_PUBLIC_NAME = re.compile(rf"({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?", re.IGNORECASE)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def check_endpoint(url: str, sandbox_url: str) -> None:
    """Check the URL of a push subscription. Raises ValueError.

    If `sandbox_url` is not empty, any URL below it is accepted.
    """
    if sandbox_url and url.startswith(f"{sandbox_url.rstrip('/')}/"):
        return
    if len(url) > MAX_ENDPOINT_CHARS:
        raise ValueError(f"endpoint must have at most {MAX_ENDPOINT_CHARS} characters")
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
    """Split a URL. Raises ValueError for a text that is not a URL, or that has an invalid port."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("endpoint must be a URL") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("endpoint must be a URL")
    return parts


def check_keys(p256dh: str, auth: str) -> None:
    """Check the two keys of a push subscription. Raises ValueError.

    They are base64url with or without padding.
    """
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
    """Read a private key, which is a scalar of 32 bytes in base64url. Raises ValueError."""
    try:
        scalar = decode(text)
        if len(scalar) != PRIVATE_BYTES:
            raise ValueError
        return ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1())
    except ValueError:
        # The error has no cause, because the cause may quote the private key.
        raise ValueError("must be base64url of the 32 bytes of a P-256 private key") from None


def public_key(private: str) -> str:
    """Encode a public key as the uncompressed point in base64url.

    This is the format of a browser's `applicationServerKey`.
    """
    point = private_key(private).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return encode(point)


def decode(text: str) -> bytes:
    """Decode base64url. Raises ValueError."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("must be base64url")
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def encode(raw: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
