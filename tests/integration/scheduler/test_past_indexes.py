"""Days that are over get the indexes by which lists search them."""

from datetime import UTC, datetime

import asyncpg
import pytest

from services.scheduler import indexer
from services.scheduler.indexer import Indexer
from shared.ledger import partitions, past
from shared.ledger.database import Database
from shared.roles import SCHEDULER
from tests.old_days import add_day, clean, name
from tests.platform import Platform
from tests.roles import as_role


async def lacking(platform: Platform) -> dict[str, list[str]]:
    existing, indexes = [await platform.rows(sql) for sql in (partitions.EXISTING, past.INDEXES)]
    return past.missing(existing, indexes, datetime.now(UTC).date())


async def test_days_before_yesterday_get_their_indexes_whatever_an_interrupted_build_left(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "LOCK_TIMEOUT_S", 0.2)
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
            assert not await service.run_once()
        (left,) = await platform.rows(past.INDEXES)
        assert not left["complete"]
        assert [await service.run_once() for _ in range(3)] == [True, False, False]
    finally:
        await reader.close()
        await database.close()
    assert await lacking(platform) == {}
    assert len(await platform.rows(past.INDEXES)) == 2 * len(past.COVERED)
    # Building the indexes also notes the failure that a worker of the previous release recorded.
    assert len(await platform.rows("SELECT 1 FROM task_failure")) == 1
    assert (await clean(platform, days_old=1)).partitions_kept == {}
    assert await platform.rows(past.INDEXES) == []
