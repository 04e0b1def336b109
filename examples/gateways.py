"""The client of the exchange rate service. A worker process creates one, and all its tasks share
it.
"""

from typing import Any

import httpx

from shared.errors import ExpectedError, PermanentError, Retry
from shared.settings import Settings

#: Made-up address: no such service exists. A real application reads the address from its settings.
URL = "https://rates.example"
TIMEOUT_S = 10.0
#: Seconds until the retry after an answer 429 whose Retry-After header is missing or is a date.
BUSY_S = 60.0


class RatesGateway:
    """Requests exchange rates, and classifies errors as temporary or permanent."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    async def rate(self, currency: str) -> float:
        """Request the exchange rate of a currency.

        Raises ExpectedError (the platform retries the task), Retry (it retries after the delay that
        the service asked for) or PermanentError (it does not retry).
        """
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
    """Create this application's gateways, by class. A task body gets one with `context.gateway`."""
    return {RatesGateway: RatesGateway(URL)}
