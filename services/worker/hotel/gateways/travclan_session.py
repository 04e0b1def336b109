"""Manages access tokens for TravClan's API.

A process logs in, and refreshes its token shortly before it expires. Concurrent requests share one
login or refresh.
"""

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
#: Names that the field with a token's lifetime may have, and the lifetime in seconds that is
#: assumed if the field is missing.
LIFE_SPELLINGS, DEFAULT_LIFE_S = ("ExpiresIn", "expiresIn", "expires_in"), 3600.0
MAX_LIFE_S = 7 * 86_400
#: A token is renewed this many seconds before it expires. If its lifetime is less than twice as
#: long, it is renewed after half of its lifetime.
EARLY_S = 60.0
#: Retry delay in seconds after a response 429 (too many requests) without Retry-After. The vendor
#: documents no rate limits.
BUSY_DELAY_S = 60.0


class Session:
    """Keeps the access token of one TravClan account in memory."""

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
        """The key and the tokens, which must not appear in any error message."""
        return (self._credentials["api_key"], self._access, self._refresh)

    async def token(self, *, rejected: str = "") -> str:
        """Return an access token that should be valid.

        `rejected` is a token that the provider has just refused; it is not returned again. Raises
        ProviderRefused for wrong credentials, ProviderAway and ProviderBusy.
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
                log.warning("%s refused to refresh the token; logging in again: %s", NAME, error)
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
            raise ProviderAway(f"{NAME} sent an answer without an access token")
        life_s = token_life_s(tokens)
        self._access = access
        # The response may contain no new refresh token. The old one then stays valid.
        self._refresh = answer.text(tokens.get("RefreshToken")) or self._refresh
        self._good_until = time.monotonic() + life_s - min(EARLY_S, life_s / 2)


def token_life_s(tokens: dict[str, Any]) -> float:
    """Return the lifetime of an access token in seconds, from the response that contained the
    token.
    """
    for spelling in LIFE_SPELLINGS:
        value = tokens.get(spelling)
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value[:10])
        life_s = answer.number(value, 1, MAX_LIFE_S)
        if life_s is not None:
            return life_s
    return DEFAULT_LIFE_S


def refusal(response: httpx.Response, secrets: tuple[str, ...]) -> ProviderRefused | ProviderBusy:
    words = answer.words(response, NAME, secrets)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        delay_s = retry_after.wait_s(response, datetime.now(UTC))
        return ProviderBusy(words, delay_s=BUSY_DELAY_S if delay_s is None else delay_s)
    return ProviderRefused(words)
