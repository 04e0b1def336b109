"""The client of the outside service. A worker process builds one and shares it among its tasks."""

from typing import Any

import httpx

from shared.errors import ExpectedError, PermanentError, Retry
from shared.settings import Settings

#: No such service exists; a real application reads the address from its settings.
URL = "https://rates.example"
TIMEOUT_S = 10.0
#: The wait after a 429 whose Retry-After is missing or is a date.
BUSY_S = 60.0


class RatesGateway:
    """Asks for exchange rates, and sorts errors into those that pass and those that do not."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    async def rate(self, currency: str) -> float:
        """Raises ExpectedError (try again), Retry (try again then) or PermanentError (do not)."""
        try:
            answer = await self._http.get(f"/euro/{currency}")
        except httpx.TransportError as error:
            raise ExpectedError(f"the rate service does not answer: {type(error).__name__}") from error
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            asked = answer.headers.get("Retry-After", "")
            raise Retry("the rate service is busy", delay_s=float(asked) if asked.isdecimal() else BUSY_S)
        if answer.is_server_error:
            raise ExpectedError(f"the rate service answered {answer.status_code}")
        if answer.is_error:
            raise PermanentError(f"the rate service refused {currency}: {answer.status_code}")
        return float(answer.json()["rate"])

    async def close(self) -> None:
        await self._http.aclose()


def build(settings: Settings) -> dict[type, Any]:
    """The gateways of this application, by class, for `context.gateway`."""
    return {RatesGateway: RatesGateway(URL)}
