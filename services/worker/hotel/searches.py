"""A page of hotels from a provider: out of the last hour's answers, or paid for out of the budget."""

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
    """SerpApi as the tasks use it: each page is one paid search."""

    gateway: SerpApiGateway
    #: Searches of the plan that scans leave to people.
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
        """One page of results. With `seen_on` only an answer that was asked for that day counts.

        Raises OutOfSearches, ProviderBusy when the hour's share is used up, and what the gateway raises.
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
        """One hotel, and the answer as it came, out of the last hour or paid. Raises as `page` does."""
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
