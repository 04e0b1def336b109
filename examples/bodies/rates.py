"""Example of an async task body: it fetches an exchange rate. An async function runs on the
worker's event loop.
"""

from examples.contracts.rates import FETCH_RATE, FetchRate, RateFetched
from examples.gateways import RatesGateway
from services.worker.registry import task
from shared.contracts.context import TaskContext


@task(FETCH_RATE)
async def fetch_rate(context: TaskContext, params: FetchRate) -> RateFetched:
    # Nothing is caught here: the type of the gateway's error tells the platform whether to retry.
    rate = await context.gateway(RatesGateway).rate(params.currency)
    return RateFetched(currency=params.currency, rate=rate)
