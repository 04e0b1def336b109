"""Decodes request bodies into the handler's declared type, strictly: a string is not taken as a number."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException

from services.api.http.errors import MalformedBody
from services.api.http.refusals import ClientGone
from services.api.identity.account_schemas import Account
from services.api.identity.callers import Credential
from shared.contracts import broken_rules
from shared.errors import FieldProblem, InvalidFields


class StrictRequest(Request[Account, Credential, State]):
    """Litestar itself converts leniently and does not say where in the body a problem is."""

    async def body(self) -> bytes:
        """Raises ClientGone when the client disconnects before the body is complete."""
        try:
            return await super().body()
        except InternalServerException:  # Litestar raises it for nothing else while it reads the body
            raise ClientGone from None

    async def json(self) -> Any:
        """Raises InvalidFields or MalformedBody."""
        declared = self.route_handler.parsed_data_field
        kind = declared.annotation if declared else Any
        body = await self.body()
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError as error:
            raise InvalidFields(_broken(body, kind, str(error))) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedBody(str(error)) from None
        except RecursionError:
            raise MalformedBody("it is nested too deeply") from None


def _broken(body: bytes, kind: Any, first: str) -> list[FieldProblem]:
    """Every broken rule; only the first one of a body that is malformed behind it."""
    try:
        found = broken_rules.find(msgspec.json.decode(body), kind, "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = []
    return found or [broken_rules.read(first, "")]
