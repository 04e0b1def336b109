"""Erases accounts. The API submits it; the body refuses an account whose erasure was not requested there."""

from datetime import timedelta
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries


class EraseAccount(Params):
    account_id: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class AccountErased(Result):
    success: bool
    #: Tasks whose parameters, results, errors and logs this attempt removed.
    tasks_erased: int
    #: Rows of other tables that this attempt deleted, or detached from the account.
    rows_erased: int


ERASE = Contract(
    name="accounts.erase",
    queue="maintenance",
    params=EraseAccount,
    result=AccountErased,
    # It waits for tasks that run. A payment may take five hours to use up its attempts; these are two days.
    retries=Retries(max_attempts=600, delay=timedelta(seconds=1), factor=1.5, cap=timedelta(minutes=5)),
    staff_only=True,
)
