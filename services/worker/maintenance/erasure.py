"""Body of the task that erases an account and everything stored about it, in batches.

An attempt may end after any step. The next attempt starts from the beginning and finds less to do.
Rows by which other rows are found (the account and its sessions) are deleted last.
"""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from services.worker.maintenance.erasing import Erasing
from services.worker.registry import task
from shared.contracts.accounts import ERASE, AccountErased, EraseAccount
from shared.contracts.context import TaskContext
from shared.errors import NotBefore, PermanentError
from shared.ledger.statement import Statement
from shared.ledger.transitions import erase
from shared.personal.data import Rows, Then
from shared.personal.directory import Directory
from shared.schedules import statements as schedules

#: Maximum number of tasks or rows that one statement erases.
BATCH = 500
#: Number of tasks whose parameters one statement searches for the account's id. This takes some 50
#: ms.
STRETCH = 20_000
#: First retry delay, in seconds, while tasks of the account are still running. The backoff of the
#: task's contract makes later delays longer.
WAIT_S = 1.0

_REQUESTED = Statement("SELECT erasure_task IS NOT NULL AS requested FROM account WHERE id = :account")

#: Deletes the records of failed sign-ins of the account. They are stored under digests of the
#: address and the network (see services/api/identity/lockout.py). Records from networks where the
#: account had no session cannot be found, but they expire within two hours.
_FORGET_FAILURES = Statement("""
    DELETE FROM login_failure WHERE forget_at < now() OR address_hash IN (
        SELECT sha256(convert_to(place.network || '|' || a.email, 'UTF8')) FROM account AS a
        CROSS JOIN LATERAL (
            SELECT '' AS network UNION SELECT s.network FROM session AS s WHERE s."user" = a.id
        ) AS place
        WHERE a.id = :account
    )
""")

#: Deletes the account's row. Returns no row as long as some process may still add rows that refer
#: to the account.
_DELETE = Statement("""
    DELETE FROM account WHERE id = :account
        AND uuid_extract_timestamp(erasure_task) < now() - make_interval(secs => :requests_last_s)
        AND NOT EXISTS (SELECT FROM task WHERE owner = :account)
    RETURNING 1
""")


@task(ERASE)
async def erase_account(context: TaskContext, params: EraseAccount) -> AccountErased:
    """Cancel the account's tasks, wait until none is running, and delete everything stored about
    it.
    """
    account = params.account_id
    found = await context.database.run(_REQUESTED, account=account)
    if found and not found[0]["requested"]:
        rule = f"must be an account that is to be erased: send DELETE /api/v1/accounts/{account} first"
        raise PermanentError(f"account_id {rule}")
    tasks = rows = 0
    if found:
        tasks = await _erase_tasks(context, account)
        await _erase_workflows(context, account)
        rows = await _erase_rows(context, account)
        await _delete(context, account)
    context.log.info("%d tasks and %d rows erased", tasks, rows)
    return AccountErased(success=True, tasks_erased=tasks, rows_erased=rows)


async def _erase_tasks(context: TaskContext, account: int) -> int:
    """Cancel and erase tasks. Returns how many were erased.

    Raises NotBefore while some are still running. The tasks that the account owns come first. Tasks
    of other owners whose parameters name the account are found by reading all tasks.
    """
    directory = context.gateway(Erasing).directory
    left = {"finish": directory.finish, "owed": directory.owed}
    await context.database.run(erase.CANCEL_WORKFLOWS, account=account, **left)
    owned = await _end_and_erase(context, account, _owned(context, account), directory)
    if not directory.fields:
        return owned
    return owned + await _end_and_erase(context, account, _naming(context, account, directory), directory)


async def _erase_workflows(context: TaskContext, account: int) -> None:
    """Erase the account's workflows.

    Raises NotBefore while some are unfinished, because those may start new tasks.
    """
    (row,) = await context.database.run(erase.UNFINISHED_WORKFLOWS, account=account)
    if row["unfinished"]:
        raise NotBefore(f"workflows of the account that have not ended: {row['unfinished']}", delay_s=WAIT_S)
    await context.database.run(erase.ERASE_STEPS, account=account)


async def _end_and_erase(
    context: TaskContext, account: int, pages: AsyncIterator[Sequence[UUID]], directory: Directory
) -> int:
    erased = unfinished = 0
    async for ids in pages:
        context.raise_if_cancelled()
        await context.database.run(erase.CANCEL_ALL, id=ids, finish=directory.finish, owed=directory.owed)
        gone = len(await context.database.run(erase.ERASE, id=ids, account=account, owed=directory.owed))
        erased, unfinished = erased + gone, unfinished + len(ids) - gone
        context.progress(30, message=f"{erased} tasks erased")
    if unfinished:
        raise NotBefore(f"tasks of the account that have not ended: {unfinished}", delay_s=WAIT_S)
    return erased


async def _owned(context: TaskContext, account: int) -> AsyncIterator[Sequence[UUID]]:
    """Yield the ids of the tasks that the account owns, in batches."""
    after = UUID(int=0)
    while rows := await context.database.run(erase.OWNED, account=account, after=after, limit=BATCH):
        after = rows[-1]["id"]
        yield [row["id"] for row in rows]


async def _naming(context: TaskContext, account: int, directory: Directory) -> AsyncIterator[Sequence[UUID]]:
    """Yield the ids of the tasks whose parameters name the account, in batches."""
    values = {"account": account, "fields": directory.fields_json, "limit": STRETCH}
    after: UUID | None = UUID(int=0)
    while after is not None:
        (row,) = await context.database.run(erase.NAMING, **values, after=after)
        after = row["last"]
        for first in range(0, len(row["ids"]), BATCH):
            yield row["ids"][first : first + BATCH]


async def _erase_rows(context: TaskContext, account: int) -> int:
    """Erase all rows about the account except its tasks and the account itself.

    Returns how many rows were erased.
    """
    context.progress(60, message="Erasing everything except tasks")
    directory, database = context.gateway(Erasing).directory, context.database
    await database.run(erase.ERASE_KEYS, account=account)
    await database.run(_FORGET_FAILURES, account=account)
    gone = await database.run(schedules.DELETE_OF_ACCOUNT, account=account, fields=directory.fields_json)
    # Rows that are kept without their reference to the account come last, because that reference
    # may be needed to find other rows that have to be deleted.
    ordered = sorted(directory.erased, key=lambda rows: rows.then is Then.DETACH)
    return len(gone) + sum([await _erase_all(context, rows, account) for rows in ordered])


async def _erase_all(context: TaskContext, rows: Rows, account: int) -> int:
    statement, erased, gone = rows.erasing(), 0, BATCH
    while gone == BATCH:
        context.raise_if_cancelled()
        gone = len(await context.database.run(statement, account=account, limit=BATCH))
        erased += gone
    return erased


async def _delete(context: TaskContext, account: int) -> None:
    """Delete the account's row.

    Raises NotBefore as long as requests may still be running that add data to the account.
    """
    seconds = context.gateway(Erasing).requests_last.total_seconds()
    if not await context.database.run(_DELETE, account=account, requests_last_s=seconds):
        raise NotBefore("requests that began before may still add data to the account", delay_s=seconds)
