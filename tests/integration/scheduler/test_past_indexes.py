"""Tests that the partitions of past days get the indexes that lists need for searching."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from services.scheduler import indexer
from services.scheduler.indexer import Indexer
from shared.ledger import cleanup, partitions, past
from shared.ledger.database import Database
from shared.roles import SCHEDULER
from tests.old_days import add_day, clean, name
from tests.platform import Platform
from tests.roles import as_role


@contextmanager
def short_lock_timeout() -> Iterator[None]:
    """Shorten the lock time-out, for rounds that should give up.

    Other tests need the usual one, because autovacuum holds its lock for up to a second.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(indexer, "LOCK_TIMEOUT_S", 0.2)
        yield


async def lacking(platform: Platform) -> dict[str, list[str]]:
    existing, indexes = [await platform.rows(sql) for sql in (partitions.EXISTING, past.INDEXES)]
    return past.missing(existing, indexes, datetime.now(UTC).date())


async def test_a_day_that_cannot_be_built_keeps_no_other_day(platform: Platform) -> None:
    await add_day(platform, 2, final=3)
    await add_day(platform, 3, final=2)
    service = Indexer(platform.database, lambda: None)
    writer = await platform.database.connect()
    async with writer.transaction():
        await writer.execute(f"LOCK TABLE {name(2)} IN ROW EXCLUSIVE MODE")
        with short_lock_timeout():
            assert not await service.run_once()
        assert await service.run_once()
    await writer.close()
    assert await lacking(platform) == {name(2): list(past.COVERED)}


async def test_days_before_yesterday_get_their_indexes_whatever_an_interrupted_build_left(
    platform: Platform,
) -> None:
    await add_day(platform, 2, final=3)
    await add_day(platform, 3, final=2, alive=1)
    assert await lacking(platform) == {name(2): list(past.COVERED), name(3): list(past.COVERED)}
    await platform.rows(
        "UPDATE task SET status = 'failure' WHERE id = "
        "(SELECT id FROM task WHERE status = 'success' ORDER BY id LIMIT 1)"
    )
    await platform.rows("TRUNCATE task_failure")
    database = Database.for_service(as_role(platform.database_url, SCHEDULER), "scheduler", by_index=True)
    await database.open(size=2)
    reader = await asyncpg.connect(platform.database_url)
    try:
        service = Indexer(database, lambda: None)
        async with reader.transaction(isolation="repeatable_read"):
            await reader.fetch(f"SELECT 1 FROM {name(2)}")
            await reader.execute(f"LOCK TABLE {name(2)} IN ROW EXCLUSIVE MODE")
            with short_lock_timeout():
                assert not await service.run_once()
        (left,) = await platform.rows(past.INDEXES)
        assert not left["complete"]
        assert [await service.run_once() for _ in range(3)] == [True, False, False]
    finally:
        await reader.close()
        await database.close()
    assert await lacking(platform) == {}
    assert len(await platform.rows(past.INDEXES)) == 2 * len(past.COVERED)
    # A worker of the previous release does not write to `task_failure`. Building the indexes adds
    # the missing row.
    assert len(await platform.rows("SELECT 1 FROM task_failure")) == 1
    assert (await clean(platform, days_old=1)).partitions_kept == {}
    assert await platform.rows(past.INDEXES) == []


async def test_a_cleanup_goes_first_and_failures_are_noted_before_the_last_index(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_day(platform, 2, final=3)
    await platform.rows("UPDATE task SET status = 'failure'")
    await platform.rows("TRUNCATE task_failure")
    task = uuid4()
    await platform.database.run(cleanup.REQUEST, task=task, cutoff=datetime.now(UTC))
    service = Indexer(platform.database, lambda: None)
    assert not await service.run_once()
    assert await platform.rows(past.INDEXES) == []
    await platform.database.run(cleanup.WITHDRAW, task=task)
    *_, last = past.COVERED
    with monkeypatch.context() as context:
        context.setitem(past.COVERED, last, "(no_such_column)")
        with pytest.raises(asyncpg.UndefinedColumnError):
            await service.run_once()
    # The last index is built only after the failures are noted. It is missing, so the next round
    # repeats the day.
    assert await lacking(platform) == {name(2): [last]}
    assert len(await platform.rows("SELECT 1 FROM task_failure")) == 3
