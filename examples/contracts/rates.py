"""Example contract: a task that calls an outside service, and that is retried when the service does
not answer.
"""

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
    #: Amount of the requested currency that one euro buys.
    rate: float


FETCH_RATE = Contract(
    name="rates.fetch",
    queue="default",
    params=FetchRate,
    result=RateFetched,
    # The pauses between attempts are about 10 s, 30 s, 90 s and 270 s, long enough for the service
    # to be restarted.
    retries=Retries(max_attempts=5, delay=timedelta(seconds=10)),
    time_limit=timedelta(minutes=1),
    # A task that could not start for an hour is given up, because its result would come too late.
    max_wait=timedelta(hours=1),
)
