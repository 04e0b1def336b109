"""Example contract: a task that runs on a schedule, and that submits other tasks."""

from datetime import timedelta

from examples.contracts.rates import CurrencyCode
from shared.contracts.contract import Contract, Params, Result
from shared.contracts.schedule import Schedule


class RefreshRates(Params):
    currencies: list[CurrencyCode]


class RatesRefreshed(Result):
    #: Number of tasks that were submitted, one per currency.
    submitted: int


REFRESH_RATES = Contract(
    name="reports.refresh_rates",
    queue="default",
    params=RefreshRates,
    result=RatesRefreshed,
    time_limit=timedelta(minutes=1),
    schedules=(
        Schedule(
            name="reports.refresh_rates.mornings",
            kind="cron",
            expression="0 8 * * 1-5",
            time_zone="Europe/Berlin",
            # After an outage, only the latest of the missed times fires.
            misfire="once",
            # The schedule does not fire while the task of its previous time is unfinished.
            overlap="skip",
            params=RefreshRates(currencies=["USD", "INR", "GBP"]),
        ),
    ),
)
