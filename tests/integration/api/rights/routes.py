"""The routes of the API with their rights, and requests to them. The console's routes have a table
of their own.
"""

import secrets
from typing import Any

from services.api.applications import rights_of, routes_of
from tests.installed import HOTEL, INSTALLED
from tests.integration.api.conftest import Client
from tests.integration.api.examples import EXAMPLES as PLATFORM_EXAMPLES
from tests.integration.api.examples import Belongings, Example

if HOTEL:
    from tests.integration.api.hotel import examples as hotel

_TABLE = rights_of(routes_of(INSTALLED))
RIGHTS = {route: right for route, right in _TABLE.entries.items() if " /console" not in route}
PUBLIC = _TABLE.public
EXAMPLES = PLATFORM_EXAMPLES | (hotel.EXAMPLES if HOTEL else {})


def example_of(route: str, of: Belongings) -> Example:
    needs_one = "{" in route or not route.startswith(("GET ", "HEAD "))
    assert route in EXAMPLES or not needs_one, f"{route} needs an entry in examples.py"
    return EXAMPLES[route](of) if route in EXAMPLES else Example()


async def send(client: Client, route: str, example: Example, headers: dict[str, str]) -> Any:
    method, path = route.split(" ")
    if path.endswith("/events"):  # an event stream never ends
        method = "HEAD"
    body = {} if example.body is None else {"json": example.body}
    # Some routes require an idempotency key, and the others ignore it. A fixed request id makes
    # answers comparable.
    headers = {**headers, "Idempotency-Key": secrets.token_hex(), "X-Request-Id": "rights"}
    return await client.request(method, path.format(**example.ids), headers=headers, **body)


def meaning(status: int, example: Example) -> str:
    let_in = status < 400 or status == example.meets
    return {401: "who is it?", 403: "not allowed"}.get(status, "let in" if let_in else str(status))
