"""Returns pages of hotels: from the cache, or by a paid search if the budget allows it.

The cache holds SerpApi's responses of the last hour.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import msgspec

from services.worker.hotel.gateways import serpapi
from services.worker.hotel.gateways.hotel_page import HotelPage, HotelQuery, HotelRow
from services.worker.hotel.gateways.provider import ProviderBusy
from services.worker.hotel.gateways.serpapi import OutOfSearches, SerpApiGateway
from shared.contracts.context import Sql
from shared.hotel import pricing

PROVIDER = "serpapi"


@dataclass(frozen=True, slots=True)
class SerpApiSearches:
    """Searches SerpApi on behalf of tasks. Each page that is not cached costs one paid search."""

    gateway: SerpApiGateway
    #: Number of the plan's searches that price scans must leave over for searches that people
    #: request.
    scan_reserve: int

    async def page(
        self,
        database: Sql,
        query: HotelQuery,
        page: str | None,
        *,
        seen_on: date | None = None,
        reserve: int = 0,
    ) -> HotelPage:
        """Return one page of hotels.

        If `seen_on` is given, a cached response must be from that day. Raises OutOfSearches,
        ProviderBusy if the searches of the current hour are used up, and the errors of the gateway.
        """
        key = _key(query, page, seen_on)
        kept = await database.run(pricing.CACHED, PROVIDER, key)
        if kept:
            return serpapi.parse_page(msgspec.json.decode(kept[0]["body"]), query)
        await self._spend(database, reserve)
        raw = await self.gateway.search_page(query, page)
        await database.run(pricing.KEEP_ANSWER, PROVIDER, key, msgspec.json.encode(raw).decode())
        return serpapi.parse_page(raw, query)

    async def details(self, database: Sql, query: HotelQuery, token: str) -> tuple[HotelRow | None, str]:
        """Return one hotel and the raw response about it.

        If no response of the last hour is cached, this costs one paid search. Raises the same
        errors as `page`.
        """
        key = _key(query, f"details of {token}", None)
        kept = await database.run(pricing.CACHED, PROVIDER, key)
        if kept:
            raw = msgspec.json.decode(kept[0]["body"])
        else:
            await self._spend(database, self.scan_reserve)
            raw = await self.gateway.details(query, token)
            await database.run(pricing.KEEP_ANSWER, PROVIDER, key, msgspec.json.encode(raw).decode())
        return serpapi.parse_details(raw, query), msgspec.json.encode(raw).decode()

    async def _spend(self, database: Sql, reserve: int) -> None:
        if await database.run(pricing.SPEND, PROVIDER, reserve):
            return
        account = await self.gateway.account()
        await database.run(pricing.KEEP_BUDGET, PROVIDER, account.searches_left, account.hourly_limit)
        if account.hourly_limit is not None and (account.this_hour or 0) >= account.hourly_limit:
            raise ProviderBusy("the searches of this hour are used up", at=_next_hour(datetime.now(UTC)))
        if not await database.run(pricing.SPEND, PROVIDER, reserve):
            left = f"{account.searches_left} searches are left of the plan"
            kept = f", and {reserve} are kept for people (OFTEN_SERPAPI_RESERVE)" if reserve else ""
            raise OutOfSearches(f"{left}{kept}; buy more, or wait for its renewal")


def _key(query: HotelQuery, page: str | None, seen_on: date | None) -> str:
    asked = msgspec.json.encode([query, page, seen_on], order="deterministic")
    return hashlib.sha256(asked).hexdigest()


def _next_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
