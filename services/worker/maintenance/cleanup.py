"""The platform keeps itself tidy."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta

import asyncpg

from services.worker.maintenance.kept import CROWDED, READ
from services.worker.maintenance.pruner import BEHIND, Pruned, Pruner, prune_aged
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
from shared.ledger import sqlstate
from shared.telemetry import metrics

#: Tokens per statement.
BATCH = 1_000
#: Of the advisory lock that lets one cleanup run at a time: two would wait for each other's partitions.
CLEANUP_LOCK = 0x6F6674656E_01
CLOSE_TIMEOUT_S = 2.0
#: After a day the cleanup rests for half as long as that took, and no longer than this: to drop files takes
#: time that others want.
LONGEST_REST_S = 1.0

#: A token whose session was revoked is as good as revoked. values: cutoff, cutoff, cutoff, limit.
DELETE_TOKENS = """
    DELETE FROM refresh_token WHERE id IN (
        SELECT t.id FROM refresh_token AS t JOIN session AS s ON s.id = t.session
        WHERE t.expires_at < {} OR t.spent_at < {} OR s.revoked_at < {} LIMIT {}
    ) RETURNING 1
"""

#: Sessions that nobody can renew any more. values: cutoff, limit.
DELETE_SESSIONS = """
    DELETE FROM session WHERE id IN (
        SELECT s.id FROM session AS s
        WHERE s.created_at < {} AND NOT EXISTS (SELECT 1 FROM refresh_token AS t WHERE t.session = s.id)
        LIMIT {}
    ) RETURNING 1
"""

#: Confirmations that are over. Their addresses may be those of strangers, so they are not kept as evidence.
#: values: limit.
DELETE_CONFIRMATIONS = """
    DELETE FROM account_confirmation WHERE token_hash IN (
        SELECT token_hash FROM account_confirmation WHERE expires_at < now() LIMIT {}
    ) RETURNING 1
"""


@task(CLEANUP_EXPIRED_REFRESH_TOKENS)
async def cleanup_expired_refresh_tokens(
    context: TaskContext, params: CleanupExpiredRefreshTokens
) -> RefreshTokensCleaned:
    """Delete refresh tokens that ended before the cutoff, sessions without tokens, and old confirmations."""
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
    """Remove the whole days before the cutoff, and what else has grown old."""
    cutoff = datetime.now(UTC) - timedelta(days=params.days_old)
    context.progress(20, message=f"Looking for whole days before {cutoff:%Y-%m-%d %H:%M} UTC")
    connection = await context.database.connect()
    try:
        async with context.database.translated():
            pruned = await _prune_days(context, connection, cutoff)
    finally:
        with contextlib.suppress(*sqlstate.NO_ANSWER):
            await connection.close(timeout=CLOSE_TIMEOUT_S)  # and the lock goes with it
    context.progress(80, message="Deleting old keys, firings, workers and audit rows")
    await prune_aged(context.database)
    await prune_audit(context.database, context.gateway(Retention))
    context.log.info("%d tasks deleted, %d days dropped", pruned.deleted, len(pruned.dropped))
    for name, reason in pruned.kept.items():
        context.log.warning("%s stays: %s", name, reason)
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


async def _prune_days(context: TaskContext, connection: asyncpg.Connection, cutoff: datetime) -> Pruned:
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", CLEANUP_LOCK):
        raise ExpectedError("another cleanup is at work; this one waits for it to end")
    pruner = Pruner(connection)
    for reason in (READ, CROWDED, BEHIND):
        metrics.PARTITIONS_KEPT.labels(reason).set(0)
    days = await pruner.days(cutoff)
    for number, day in enumerate(days):
        context.progress(40 + 40 * number // len(days), message=f"Removing {day}")
        begun = time.monotonic()
        if context.cancelled or not await pruner.prune(day):
            break
        if day != days[-1]:
            await asyncio.sleep(min((time.monotonic() - begun) / 2, LONGEST_REST_S))
    if not context.cancelled:
        await pruner.prune_kept(cutoff)
    return pruner.pruned
