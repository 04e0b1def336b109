"""Decodes request bodies into the handler's declared type, strictly: for example, a string is not
accepted as a number.
"""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException

from services.api.http.errors import MalformedBody
from services.api.http.refusals import ClientGone
from services.api.identity.account_schemas import Account
from services.api.identity.callers import Credential
from shared.contracts import broken_rules, nesting
from shared.errors import FieldProblem, InvalidFields

_TOO_DEEP = f"it {nesting.RULE}"


class StrictRequest(Request[Account, Credential, State]):
    """A request with strict decoding of its body. Litestar's own decoding is lenient and does not
    say where in the body a problem is.
    """

    async def body(self) -> bytes:
        """Receive the whole body. Raises ClientGone if the client disconnects before the body is
        complete.
        """
        try:
            return await super().body()
        # Litestar raises this error only if the client disconnects
        except InternalServerException:
            raise ClientGone from None

    async def json(self) -> Any:
        """Decode the body as JSON. Raises InvalidFields or MalformedBody."""
        declared = self.route_handler.parsed_data_field
        kind = declared.annotation if declared else Any
        body = await self.body()
        if nesting.is_too_deep(body):
            raise MalformedBody(_TOO_DEEP)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            raise InvalidFields(_broken(body, kind, str(error))) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedBody(str(error)) from None
        except RecursionError:
            raise MalformedBody(_TOO_DEEP) from None


def _broken(body: bytes, kind: Any, first: str) -> list[FieldProblem]:
    """Return all rules that the body breaks. If the body turns out to be invalid JSON later in the
    text, return only the rule that was found first.
    """
    try:
        found = broken_rules.find(msgspec.json.decode(body), kind, "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = []
    return found or [broken_rules.read(first, "")]
