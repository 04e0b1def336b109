"""The contract of the task that carries out a bulk operation.

The API submits the task together with a row of the table `bulk_act`, which describes the operation.
"""

from datetime import timedelta
from uuid import UUID

from shared.contracts.contract import Contract, Params, Result, Retries

#: Maximum duration of a bulk operation at its requested rate. It is also the time limit of an
#: attempt; if an attempt takes longer, the next attempt continues the operation.
MAX_DURATION = timedelta(days=1)


class RunBulk(Params):
    bulk_id: UUID


class BulkEnded(Result):
    #: How the operation ended: "completed", "stopped", "forbidden", or "gone" if the account that
    #: started it was erased.
    state: str
    done: int
    skipped: int
    refused: int


BULK = Contract(
    name="operations.bulk",
    queue="operations",
    params=RunBulk,
    result=BulkEnded,
    priority=9,
    # Each attempt of a bulk operation continues where the previous one stopped. The 100 attempts
    # are used up if a server is unavailable for two hours.
    retries=Retries(max_attempts=100, delay=timedelta(seconds=2), factor=2, cap=timedelta(minutes=1)),
    time_limit=MAX_DURATION,
    internal=True,
)
