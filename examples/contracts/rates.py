"""A task that calls an outside service and is retried when that does not answer."""

from datetime import timedelta
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.patterns import whole

CurrencyCode = Annotated[str, Meta(pattern=whole("[A-Z]{3}"))]


class FetchRate(Params):
    currency: CurrencyCode


class RateFetched(Result):
    currency: str
    #: Units of the currency for one euro.
    rate: float


FETCH_RATE = Contract(
    name="rates.fetch",
    queue="default",
    params=FetchRate,
    result=RateFetched,
    # About 10 s, 30 s, 90 s and 270 s: a service that restarts is back by then.
    retries=Retries(max_attempts=5, delay=timedelta(seconds=10)),
    time_limit=timedelta(minutes=1),
    # A request that has waited for an hour is not worth starting.
    max_wait=timedelta(hours=1),
)
