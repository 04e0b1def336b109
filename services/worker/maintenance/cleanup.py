"""Bodies of the cleanup tasks, which keep the platform's own tables small."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from services.worker.maintenance import aged
from services.worker.maintenance.retention import Retention, prune_audit
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.contracts.maintenance import (
    CLEANUP_EXPIRED_REFRESH_TOKENS,
    CLEANUP_OLD_TASKS,
    CleanupExpiredRefreshTokens,
    CleanupOldTasks,
    OldTasksCleaned,
    RefreshTokensCleaned,
)
from shared.errors import ExpectedError
from shared.ledger import cleanup
from shared.ledger.cleanup import Pruned

#: Maximum number of rows, such as refresh tokens, that one statement deletes.
BATCH = 1_000
#: Pause in seconds between two checks of the leading scheduler's progress.
POLL_S = 0.5
#: Maximum number of seconds that a cleanup waits for a leading scheduler to begin, and then for
#: each sign of progress. If other transactions lock a day's tables, there is no progress for a
#: minute or two.
MAX_WAIT_S, MAX_SILENCE_S = 60.0, 600.0

#: Deletes old refresh tokens. A token counts as revoked when its session was revoked. Its values
#: are the cutoff (three times) and the limit.
DELETE_TOKENS = """
    DELETE FROM refresh_token WHERE id IN (
        SELECT t.id FROM refresh_token AS t JOIN session AS s ON s.id = t.session
        WHERE t.expires_at < {} OR t.spent_at < {} OR s.revoked_at < {} LIMIT {}
    ) RETURNING 1
"""

#: Deletes old sessions that have no refresh token left and so cannot be renewed. Its values are the
#: cutoff and the limit.
DELETE_SESSIONS = """
    DELETE FROM session WHERE id IN (
        SELECT s.id FROM session AS s
        WHERE s.created_at < {} AND NOT EXISTS (SELECT 1 FROM refresh_token AS t WHERE t.session = s.id)
        LIMIT {}
    ) RETURNING 1
"""

#: Deletes expired confirmations of mail addresses. They are not kept as evidence, because their
#: addresses may belong to people who have no account. Its value is the limit.
DELETE_CONFIRMATIONS = """
    DELETE FROM account_confirmation WHERE token_hash IN (
        SELECT token_hash FROM account_confirmation WHERE expires_at < now() LIMIT {}
    ) RETURNING 1
"""


@task(CLEANUP_EXPIRED_REFRESH_TOKENS)
async def cleanup_expired_refresh_tokens(
    context: TaskContext, params: CleanupExpiredRefreshTokens
) -> RefreshTokensCleaned:
    """Delete old refresh tokens, sessions without tokens, and expired confirmations.

    A token is old if it expired, was used or was revoked before the cutoff.
    """
    cutoff = datetime.now(UTC) - timedelta(days=params.keep_days)
    context.progress(20, message=f"Deleting tokens that ended before {cutoff:%Y-%m-%d %H:%M} UTC")
    cleaned, gone = 0, BATCH
    while gone == BATCH and not context.cancelled:
        gone = len(await context.database.run(DELETE_TOKENS, cutoff, cutoff, cutoff, BATCH))
        cleaned += gone
        context.progress(20, message=f"{cleaned} tokens deleted")
    context.progress(80, message="Deleting sessions without tokens")
    while await context.database.run(DELETE_SESSIONS, cutoff, BATCH) and not context.cancelled:
        pass
    context.progress(90, message="Deleting confirmations of addresses")
    while await context.database.run(DELETE_CONFIRMATIONS, BATCH) and not context.cancelled:
        pass
    context.log.info("%d refresh tokens deleted", cleaned)
    return RefreshTokensCleaned(
        success=not context.cancelled,
        tokens_cleaned=cleaned,
        cutoff_date=cutoff,
        cleanup_completed_at=datetime.now(UTC),
    )


@task(CLEANUP_OLD_TASKS)
async def cleanup_old_tasks(context: TaskContext, params: CleanupOldTasks) -> OldTasksCleaned:
    """Have the leading scheduler drop the days of tasks before the cutoff, then delete other old
    rows.
    """
    cutoff = datetime.now(UTC) - timedelta(days=params.days_old)
    context.progress(20, message=f"Looking for whole days before {cutoff:%Y-%m-%d %H:%M} UTC")
    pruned = Pruned() if context.cancelled else await _drop_days(context, cutoff)
    context.progress(80, message="Deleting old keys, firings, workers and audit rows")
    await aged.prune(context.database)
    await aged.prune_workflows(context.database, cutoff)
    await prune_audit(context.database, context.gateway(Retention))
    context.log.info("%d tasks deleted, %d days dropped", pruned.deleted, len(pruned.dropped))
    for name, reason in pruned.kept.items():
        context.log.warning("a partition was not dropped: %s", reason, extra={"partition": name})
    return OldTasksCleaned(
        success=not context.cancelled,
        tasks_deleted=pruned.deleted,
        total_tasks_found=pruned.found,
        days_old=params.days_old,
        cutoff_date=cutoff,
        cleanup_completed_at=datetime.now(UTC),
        partitions_dropped=pruned.dropped,
        partitions_kept=pruned.kept,
    )


async def _drop_days(context: TaskContext, cutoff: datetime) -> Pruned:
    """Ask the leading scheduler to drop days, and wait for the result.

    Raises ExpectedError if no scheduler works on the request.
    """
    await context.database.run(cleanup.REQUEST, task=context.id, cutoff=cutoff)
    try:
        while (pruned := await _answer(context)) is None:
            if context.cancelled:
                await context.database.run(cleanup.CANCEL, task=context.id)
            await asyncio.sleep(POLL_S)
        return pruned
    finally:
        await context.database.run(cleanup.WITHDRAW, task=context.id)


async def _answer(context: TaskContext) -> Pruned | None:
    """Return the leading scheduler's result, or None while it is working.

    Raises ExpectedError after a long time without progress.
    """
    (row,) = await context.database.run(cleanup.PROGRESS, task=context.id)
    if row["result"] is not None:
        return msgspec.json.decode(row["result"], type=Pruned)
    if row["silent_s"] > (MAX_SILENCE_S if row["seen"] else MAX_WAIT_S):
        raise ExpectedError(
            f"no scheduler has worked on this cleanup for {row['silent_s']:.0f} s; only the leading one may "
            "drop days: start a scheduler of this release, or read the leading scheduler's log"
        )
    if row["days"]:
        message = f"{row['done']} of {row['days']} days are done"
        context.progress(40 + 40 * row["done"] // row["days"], message=message)
    return None
