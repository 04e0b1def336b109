"""A task that the clock submits, and that submits others."""

from datetime import timedelta

from examples.contracts.rates import CurrencyCode
from shared.contracts.contract import Contract, Params, Result
from shared.contracts.schedule import Schedule


class RefreshRates(Params):
    currencies: list[CurrencyCode]


class RatesRefreshed(Result):
    #: Tasks that were submitted, one for each currency.
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
            # After an outage only the latest missed morning fires.
            misfire="once",
            # No second run while the first one still waits.
            overlap="skip",
            params=RefreshRates(currencies=["USD", "INR", "GBP"]),
        ),
    ),
)
