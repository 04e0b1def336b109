"""Decodes request bodies into the handler's declared type, strictly: a string is not taken as a number."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException

from services.api.http.errors import MalformedBody
from services.api.http.refusals import ClientGone
from services.api.identity.account_schemas import Account
from services.api.identity.auth import Credential
from shared.contracts.contract import read_problem
from shared.errors import InvalidFields


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
        try:
            return msgspec.json.decode(await self.body(), type=declared.annotation if declared else Any)
        except msgspec.ValidationError as error:
            raise InvalidFields([read_problem(str(error), "")]) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedBody(str(error)) from None
        except RecursionError:
            raise MalformedBody("it is nested too deeply") from None
