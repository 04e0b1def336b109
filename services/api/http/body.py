"""Decodes request bodies straight into the handler's declared type, strictly: a string is no number."""

from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State

from services.api.http.errors import MalformedBody
from services.api.identity.account_schemas import Account
from services.api.identity.auth import Credential
from shared.contracts.contract import read_problem
from shared.errors import InvalidFields


class StrictRequest(Request[Account, Credential, State]):
    """Litestar's own way converts leniently and forgets the path of what is wrong."""

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
