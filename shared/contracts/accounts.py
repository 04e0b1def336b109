"""The contract of the task that erases an account.

Only the API submits the task. The task checks that the erasure was really requested.
"""

from datetime import timedelta
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries


class EraseAccount(Params):
    account_id: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class AccountErased(Result):
    success: bool
    #: Number of tasks whose parameters, results, errors and logs were removed in this attempt.
    tasks_erased: int
    #: Number of rows of other tables that were deleted, or detached from the account, in this
    #: attempt.
    rows_erased: int


ERASE = Contract(
    name="accounts.erase",
    queue="maintenance",
    params=EraseAccount,
    result=AccountErased,
    # The task that erases an account is retried until the account's running tasks have ended. A
    # payment, for example, may need five hours for all its attempts. With this backoff, the
    # attempts of an erasure extend over two days.
    retries=Retries(max_attempts=600, delay=timedelta(seconds=1), factor=1.5, cap=timedelta(minutes=5)),
    staff_only=True,
)
