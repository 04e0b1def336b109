"""Fetches an exchange rate. An async function runs on the worker's event loop."""

from examples.contracts.rates import FETCH_RATE, FetchRate, RateFetched
from examples.gateways import RatesGateway
from services.worker.registry import task
from shared.contracts.context import TaskContext


@task(FETCH_RATE)
async def fetch_rate(context: TaskContext, params: FetchRate) -> RateFetched:
    # The gateway's errors say whether the platform tries again; there is nothing to catch here.
    rate = await context.gateway(RatesGateway).rate(params.currency)
    return RateFetched(currency=params.currency, rate=rate)
