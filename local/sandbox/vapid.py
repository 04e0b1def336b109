"""Checks the identity of the server that sends a push message (VAPID, RFC 8292), by the signature
of its token.
"""

import re

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from shared.hotel import web_push

SCHEME = re.compile(r"vapid\s+", re.IGNORECASE)
MAX_LIFE_S = 86_400
HALF = 32


class Rejected(ValueError):
    """Raised when the identity of the sender is not accepted. The message says why."""


class Header(msgspec.Struct):
    alg: str


class Claims(msgspec.Struct):
    aud: str
    exp: int
    sub: str


def check(authorization: str, origin: str, now: float) -> str:
    """Check the Authorization header of a push message. Returns the sender's public key in
    base64url.

    `now` is in seconds since the epoch. Raises Rejected.
    """
    if not SCHEME.match(authorization):
        raise Rejected("the scheme is not vapid")
    pairs = (pair.strip().partition("=") for pair in SCHEME.sub("", authorization, 1).split(","))
    parameters = {name: value for name, _, value in pairs}
    try:
        token, key = parameters["t"], parameters["k"]
        signed, _, signature = token.rpartition(".")
        header, claims = (web_push.decode(part) for part in signed.split("."))
        algorithm = msgspec.json.decode(header, type=Header).alg
        said = msgspec.json.decode(claims, type=Claims)
        if algorithm != "ES256":
            raise Rejected("the token is not signed with ES256")
        _verify(web_push.decode(key), signed.encode(), web_push.decode(signature))
    except (KeyError, ValueError) as error:
        raise error if isinstance(error, Rejected) else Rejected("the header can't be read") from None
    except InvalidSignature:
        raise Rejected("the signature is wrong") from None
    _check_claims(said, origin, now)
    return key


def _verify(point: bytes, signed: bytes, signature: bytes) -> None:
    """Verify the signature of a token. Raises ValueError or InvalidSignature."""
    if len(signature) != 2 * HALF:
        raise ValueError
    halves = int.from_bytes(signature[:HALF]), int.from_bytes(signature[HALF:])
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    key.verify(encode_dss_signature(*halves), signed, ec.ECDSA(hashes.SHA256()))


def _check_claims(claims: Claims, origin: str, now: float) -> None:
    if claims.aud != origin:
        raise Rejected("the token is for another push service")
    if not now < claims.exp <= now + MAX_LIFE_S:
        raise Rejected("the token has expired, or is valid for more than a day")
    if not claims.sub.startswith(("mailto:", "https:")):
        raise Rejected("the subject is neither mailto: nor https:")
