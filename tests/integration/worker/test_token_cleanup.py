"""Tests of the cleanup of refresh tokens and sessions that ended long ago."""

from datetime import timedelta
from uuid import uuid4

from services.worker.maintenance.cleanup import BATCH, cleanup_expired_refresh_tokens
from shared.contracts.maintenance import CleanupExpiredRefreshTokens, RefreshTokensCleaned
from shared.testing import run_inline
from tests.platform import Platform


async def rows_of(platform: Platform, table: str) -> int:
    (row,) = await platform.rows(f"SELECT count(*) AS n FROM {table}")
    return int(row["n"])


async def clean_tokens(platform: Platform, keep_days: int = 30) -> RefreshTokensCleaned:
    run = await run_inline(
        cleanup_expired_refresh_tokens,
        CleanupExpiredRefreshTokens(keep_days=keep_days),
        database=platform.database,
    )
    assert run.result is not None
    assert [step.current for step in run.progress][-1] == 90
    return run.result


async def add_tokens(platform: Platform, *, times: int = 1, **ended_days: int) -> None:
    """Add `times` refresh tokens, each with its own session.

    `expires`, `spent` and `revoked` say how many days ago that happened.
    """
    ages = [ended_days.get(key) for key in ("revoked", "expires", "spent")]
    await platform.rows(
        """
        WITH owner AS (
            INSERT INTO account (email, password_hash) VALUES ({}, '-') RETURNING id
        ), opened AS (
            INSERT INTO session ("user", created_at, revoked_at)
            SELECT id, now() - interval '90 days', now() - make_interval(days => {}) FROM owner RETURNING id
        )
        INSERT INTO refresh_token (session, token_hash, expires_at, spent_at)
        SELECT id, uuid_send(gen_random_uuid()), now() - make_interval(days => coalesce({}, -7)),
               now() - make_interval(days => {})
        FROM opened, generate_series(1, {})
        """,
        f"{uuid4()}@often.example",
        *ages,
        times,
    )


async def test_tokens_that_ended_before_the_cutoff_are_deleted_in_batches_and_others_stay(
    platform: Platform,
) -> None:
    await add_tokens(platform, times=BATCH + 5, expires=31)
    await add_tokens(platform, spent=31)
    await add_tokens(platform, revoked=31)
    for stays in ({}, {"expires": 29}, {"spent": 29}, {"revoked": 29}):
        await add_tokens(platform, **stays)
    result = await clean_tokens(platform)
    assert (result.success, result.tokens_cleaned) == (True, BATCH + 7)
    assert timedelta(days=30) <= result.cleanup_completed_at - result.cutoff_date < timedelta(days=31)
    assert await rows_of(platform, "refresh_token") == await rows_of(platform, "session") == 4
    assert (await clean_tokens(platform, keep_days=0)).tokens_cleaned == 3


async def test_ended_confirmations_are_deleted_at_once_and_open_ones_stay(platform: Platform) -> None:
    await platform.rows(
        """
        WITH owner AS (
            INSERT INTO account (email, password_hash) VALUES ('ann@often.example', '-') RETURNING id
        )
        INSERT INTO account_confirmation (token_hash, "user", email, expires_at)
        SELECT uuid_send(gen_random_uuid()), id, 'ann@often.example', now() + make_interval(mins => n)
        FROM owner, unnest(ARRAY[-2, -1, 1]) AS n
        """
    )
    await clean_tokens(platform)
    (left,) = await platform.rows("SELECT expires_at > now() AS is_open FROM account_confirmation")
    assert left["is_open"]
