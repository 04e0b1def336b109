"""Accepts requests to erase an account.

The account is deactivated at once, and a task erases its data.
"""

import asyncio
from uuid import UUID

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.trail import Target
from services.api.http.refusals import AccountNotFound
from services.api.identity import administration, api_keys, sessions
from shared.contracts.accounts import ERASE, EraseAccount
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement
from shared.new_task import NewTask
from shared.submission import Submitter

#: Statuses of the erasure task after which a repeated request submits a new one. None means that
#: the task no longer exists.
GIVEN_UP = frozenset({None, Status.FAILURE, Status.REVOKED})

_LOCK = Statement("""
    SELECT a.erasure_task, t.status FROM account AS a LEFT JOIN task AS t ON t.id = a.erasure_task
    WHERE a.id = :account FOR UPDATE OF a
""")
_DEACTIVATE = Statement("UPDATE account SET is_active = false, erasure_task = :task WHERE id = :account")


class Erasures:
    """Starts the erasure of accounts. Everything that one request does happens in one transaction."""

    def __init__(self, database: Database, submitter: Submitter) -> None:
        self._database = database
        self._submitter = submitter

    async def request(self, account: int, actor: Actor) -> UUID:
        """Deactivate the account, end its sessions and API keys, and submit the task that erases
        it. Returns the task's id.

        A repeated request returns the same id as long as the task is not finished. Raises
        AccountNotFound, LastAdministrator or ServerUnavailable.
        """
        async with (
            self._database.translated(),
            asyncio.timeout(self._database.limit_s),
            self._submitter.transaction(),
        ):
            await administration.keep_an_administrator(self._database, account)
            rows = await self._database.run(_LOCK, account=account)
            if not rows:
                raise AccountNotFound(account)
            if rows[0]["status"] not in GIVEN_UP:
                return UUID(int=rows[0]["erasure_task"].int)
            return await self._start(account, actor)

    async def _start(self, account: int, actor: Actor) -> UUID:
        await sessions.end_all(self._database, account)
        await api_keys.end_all(self._database, account)
        # The erasure task has no owner, because the tasks that the account owns are erased too.
        (task_id,) = await self._submitter.submit(
            [NewTask(contract=ERASE, params=EraseAccount(account_id=account))]
        )
        await self._database.run(_DEACTIVATE, account=account, task=task_id)
        target, after = Target("account", account), {"task": task_id}
        await trail.record(self._database, actor, Action.ERASURE_REQUESTED, target, after=after)
        return task_id
