"""TravClan's tokens: one login or refresh at a time in a process, and before the old one has ended."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from services.worker.hotel.gateways import answer, retry_after
from services.worker.hotel.gateways.provider import Provider, ProviderAway, ProviderBusy, ProviderRefused

log = logging.getLogger(__name__)

NAME = "TravClan"
LOGIN = "/authentication/internal/service/login"
REFRESH = "/authentication/internal/service/refresh"
#: How clients spell the life of a token, and what they take it for where it is missing.
LIFE_SPELLINGS, DEFAULT_LIFE_S = ("ExpiresIn", "expiresIn", "expires_in"), 3600.0
LONGEST_LIFE_S = 7 * 86_400
#: Renewed so much before its end, or at half of a life that is shorter than two of these.
EARLY_S = 60.0
#: Nothing is written about its limits, unless it says itself how long.
BUSY_DELAY_S = 60.0


class Session:
    """The access token of one account, as long as the process lives."""

    def __init__(self, credentials: dict[str, str], url: str, provider: Provider) -> None:
        self._credentials = credentials
        self._url = url.rstrip("/")
        self._provider = provider
        self._lock = asyncio.Lock()
        self._access = ""
        self._refresh = ""
        self._good_until = 0.0

    @property
    def configured(self) -> bool:
        return all(self._credentials.values())

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may say."""
        return (self._credentials["api_key"], self._access, self._refresh)

    async def token(self, *, rejected: str = "") -> str:
        """One that should be good; not `rejected`, which the provider has just refused.

        Raises ProviderRefused where the credentials are wrong, ProviderAway and ProviderBusy.
        """
        async with self._lock:
            if self._access in ("", rejected) or time.monotonic() >= self._good_until:
                await self._renew()
            return self._access

    async def _renew(self) -> None:
        if self._refresh:
            try:
                return self._keep(await self._ask(REFRESH, {"refresh_token": self._refresh}))
            except (ProviderAway, ProviderBusy, ProviderRefused) as error:
                log.warning("%s: the token is not refreshed but fetched anew: %s", NAME, error)
                self._refresh = ""
        return self._keep(await self._ask(LOGIN, self._credentials))

    async def _ask(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        response = await self._provider.request("POST", self._url + path, circuit=f"{NAME} auth", json=body)
        if not response.is_success:
            raise refusal(response, self.secrets)
        return answer.parse_object(response, NAME, ())

    def _keep(self, tokens: dict[str, Any]) -> None:
        access = answer.text(tokens.get("AccessToken"))
        if access is None:
            raise ProviderAway(f"{NAME} answered without an access token")
        life_s = token_life_s(tokens)
        self._access = access
        # A refresh may leave it out: the old one stays.
        self._refresh = answer.text(tokens.get("RefreshToken")) or self._refresh
        self._good_until = time.monotonic() + life_s - min(EARLY_S, life_s / 2)


def token_life_s(tokens: dict[str, Any]) -> float:
    """Of an access token, as the answer that brought it says."""
    for spelling in LIFE_SPELLINGS:
        value = tokens.get(spelling)
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value[:10])
        life_s = answer.number(value, 1, LONGEST_LIFE_S)
        if life_s is not None:
            return life_s
    return DEFAULT_LIFE_S


def refusal(response: httpx.Response, secrets: tuple[str, ...]) -> ProviderRefused | ProviderBusy:
    words = answer.words(response, NAME, secrets)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        delay_s = retry_after.wait_s(response, datetime.now(UTC))
        return ProviderBusy(words, delay_s=BUSY_DELAY_S if delay_s is None else delay_s)
    return ProviderRefused(words)
