"""Creates and reads preview tokens of bulk operations.

A token proves that one exact operation was previewed, and starts it once. A token gives no rights:
the request that sends it must also have the rights for the operation.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import jwt
import msgspec

from services.api.bulk.schemas import BulkBody
from shared.errors import FieldProblem, InvalidFields

#: Lifetime of a preview token: long enough to read ten samples and ask a colleague.
LIFE = timedelta(minutes=15)

_ALGORITHM, _AUDIENCE = "HS256", "bulk"
_CLAIMS = ["jti", "act", "unt", "exa", "exp"]


class Previewed(NamedTuple):
    """The contents of a preview token."""

    #: The id that the bulk operation will have. It is chosen by the preview, so one token cannot
    #: start two operations.
    bulk_id: UUID
    until: UUID
    #: True if the preview counted all matches. Only then can the start notice that there are more.
    is_exact: bool


class Tokens:
    """Creates and reads the preview tokens of bulk operations."""

    def __init__(self, secret_key: str) -> None:
        self._secret_key = secret_key

    def make(self, previewed: Previewed, body: BulkBody) -> tuple[str, datetime]:
        """Create a preview token for an operation. Returns the token and the time at which it
        expires.
        """
        expires_at = datetime.now(UTC) + LIFE
        claims = {
            "aud": _AUDIENCE,
            "jti": previewed.bulk_id.hex,
            "unt": previewed.until.hex,
            "exa": previewed.is_exact,
            "act": _fingerprint(body),
            "exp": expires_at,
        }
        return jwt.encode(claims, self._secret_key, _ALGORITHM), expires_at

    def read(self, token: str, body: BulkBody) -> Previewed:
        """Read a preview token. Raises InvalidFields if the token is forged, has expired, or
        belongs to another operation.
        """
        try:
            claims = jwt.decode(
                token, self._secret_key, [_ALGORITHM], audience=_AUDIENCE, options={"require": _CLAIMS}
            )
        except jwt.ExpiredSignatureError:
            raise _invalid("has expired; send the request with dry_run again") from None
        except jwt.InvalidTokenError:
            raise _invalid("must be the token of a preview, which dry_run returns") from None
        if claims["act"] != _fingerprint(body):
            rule = (
                "belongs to another operation: kind, action, filter and changes must be those of the preview"
            )
            raise _invalid(rule)
        return Previewed(UUID(claims["jti"]), UUID(claims["unt"]), claims["exa"])


def _fingerprint(body: BulkBody) -> str:
    act = [body.kind, body.action, body.filter, body.changes]
    return hashlib.sha256(msgspec.json.encode(act, order="deterministic")).hexdigest()


def _invalid(rule: str) -> InvalidFields:
    return InvalidFields([FieldProblem("token", rule)])
