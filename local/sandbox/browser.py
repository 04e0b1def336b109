"""Simulates a browser that subscribed to push messages: its keys, and how it decrypts a message
(RFC 8291 and 8188, in one record).

It is implemented from the standards with cryptographic primitives only, so that it cannot share a
mistake with the sender's library.
"""

import os
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CURVE = ec.SECP256R1()
SALT_BYTES, POINT_BYTES, TAG_BYTES = 16, 65, 16
#: Length in bytes of an encrypted message's header: salt, record size, and the length of the key.
HEADER_BYTES = SALT_BYTES + 4 + 1
LAST_RECORD = 2


class Unreadable(ValueError):
    """Raised when the message is encrypted for another browser, or violates the standard."""


class Browser:
    """A simulated browser: the secrets of one push subscription."""

    def __init__(self, private: ec.EllipticCurvePrivateKey, auth: bytes) -> None:
        self._private = private
        self.auth = auth
        self.point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @classmethod
    def fresh(cls) -> Self:
        return cls(ec.generate_private_key(CURVE), os.urandom(16))

    def decrypt(self, body: bytes) -> bytes:
        """Decrypt the body of a push message. Raises Unreadable."""
        salt = body[:SALT_BYTES]
        record_size = int.from_bytes(body[SALT_BYTES : HEADER_BYTES - 1])
        if len(body) < HEADER_BYTES + POINT_BYTES + TAG_BYTES or body[HEADER_BYTES - 1] != POINT_BYTES:
            raise Unreadable("the body does not begin with salt, record size and a point")
        sender = body[HEADER_BYTES : HEADER_BYTES + POINT_BYTES]
        record = body[HEADER_BYTES + POINT_BYTES :]
        if len(record) > record_size:
            raise Unreadable("the encrypted body has more than one record (RFC 8188)")
        key, nonce = self._derive(salt, sender)
        try:
            padded = AESGCM(key).decrypt(nonce, record, None)
        except InvalidTag:
            raise Unreadable("the body is encrypted for another browser") from None
        message = padded.rstrip(b"\0")
        if not message or message[-1] != LAST_RECORD:
            raise Unreadable("the padding does not mark the last record")
        return message[:-1]

    def _derive(self, salt: bytes, sender: bytes) -> tuple[bytes, bytes]:
        """Derive the content encryption key and the nonce of a message."""
        try:
            shared = self._private.exchange(
                ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, sender)
            )
        except ValueError:
            raise Unreadable("the sender's key is not a point of the curve") from None
        secret = _hkdf(self.auth, shared, b"WebPush: info\0" + self.point + sender, 32)
        key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        return key, _hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)


def _hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)
