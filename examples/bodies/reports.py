"""Example of a task body that submits other tasks: one child for each currency."""

from examples.contracts.rates import FETCH_RATE, FetchRate
from examples.contracts.reports import REFRESH_RATES, RatesRefreshed, RefreshRates
from services.worker.registry import task
from shared.contracts.context import TaskContext


@task(REFRESH_RATES)
def refresh_rates(context: TaskContext, params: RefreshRates) -> RatesRefreshed:
    submitted = 0
    for currency in params.currencies:
        if context.cancelled:
            break
        # Children are stored in the same commit as this task's success: all of them or none.
        context.submit(FETCH_RATE, FetchRate(currency=currency))
        submitted += 1
        context.progress(submitted, total=len(params.currencies), message=currency)
    return RatesRefreshed(submitted=submitted)
