"""Tests that lists and counts that take too long are answered with a specific error, and delay no
other request.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.api import reads
from services.api.tasks import search
from shared.ledger import connections
from shared.ledger.database import Database
from shared.ledger.partitions import partition_name
from shared.ledger.statement import Statement
from shared.ledger.task_tables import Task
from shared.settings import Settings
from tests.eventually import eventually
from tests.integration.api.conftest import Person, side_by_side

HEALTH_CHECK = {"name": "system.health_check", "params": {}}
#: Tomorrow's partition of `task`. A lock on it blocks lists, which read all partitions, but not
#: submissions.
TOMORROW = partition_name("task", datetime.now(UTC).date() + timedelta(days=1))
#: Inserts 5,000 tasks of the account $1.
MANY = """
    INSERT INTO task (id, name, type, queue, status, params, send_at, created_at, owner)
    SELECT uuidv7(), 'system.health_check', 'system', 'default', 'pending', '{}', now(), now(), $1
    FROM generate_series(1, 5000)
"""
END_WAITING = """
    SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'workflow'::regclass"


async def test_twelve_slow_readers_hold_up_neither_submissions_nor_health_checks(
    administrator: Person, settings: Settings, database: asyncpg.Connection
) -> None:
    headers = administrator.headers
    async with side_by_side(settings) as client:
        async with database.transaction():
            await database.execute("LOCK TABLE workflow IN ACCESS EXCLUSIVE MODE")
            readers = [
                asyncio.create_task(client.get("/api/v1/workflows", headers=headers)) for _ in range(12)
            ]

            async def all_read() -> Any:
                return await database.fetchval(WAITING) >= connections.API_READ_POOL

            await eventually(all_read)
            stored = await client.post("/api/v1/tasks", json=HEALTH_CHECK, headers=headers)
            ready = await client.get("/health/ready")
            assert [stored.status_code, ready.status_code] == [202, 200]
            assert not [reader for reader in readers if reader.done()]
            answers = await asyncio.gather(*readers)
        again = await client.get("/api/v1/tasks", headers=headers)

    assert {answer.status_code for answer in answers} == {504}
    problem = answers[0].json()
    assert problem["type"] == "urn:often:problem:read-too-slow"
    assert problem["detail"].startswith("This took longer than 5 s. Narrow the search")
    assert [item["id"] for item in again.json()["items"]] == [stored.json()["task_id"]]


async def test_a_list_that_cannot_be_read_at_all_says_so(
    administrator: Person, settings: Settings, database: asyncpg.Connection
) -> None:
    """Where nothing could be read, the error has no cursor, because the next page would begin at
    the same place.
    """
    async with side_by_side(settings) as client:
        async with database.transaction():
            await database.execute(f"LOCK TABLE {TOMORROW} IN ACCESS EXCLUSIVE MODE")
            paths = ("tasks", "tasks?error=x", "tasks/stats/summary")
            answers = await asyncio.gather(
                *(client.get(f"/api/v1/{path}", headers=administrator.headers) for path in paths)
            )
        again = await client.get("/api/v1/tasks?error=x", headers=administrator.headers)
    assert {answer.status_code for answer in answers} == {504}
    assert {answer.json()["type"] for answer in answers} == {"urn:often:problem:read-too-slow"}
    assert (again.status_code, again.json()["complete"]) == (200, True)


async def test_a_read_without_postgres_says_that_postgres_is_away(
    administrator: Person, settings: Settings, database: asyncpg.Connection
) -> None:
    async with side_by_side(settings) as client, database.transaction():
        await database.execute(f"LOCK TABLE {TOMORROW} IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(client.get("/api/v1/tasks", headers=administrator.headers))

        async def is_answered() -> bool:
            # Other statements of the API may wait for the lock as well, so all waiting ones are
            # ended.
            await database.execute(END_WAITING, TOMORROW)
            return reading.done()

        await eventually(is_answered)
        answer = await reading
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:often:problem:server-away")
    assert "terminating connection" in answer.json()["detail"]


async def test_the_tasks_of_an_owner_are_read_in_order_before_their_day_is_analyzed(
    guest: Person, database: asyncpg.Connection
) -> None:
    """Each page must read the owner's tasks in order, by an index.

    Otherwise Postgres would collect and sort all tasks of the owner.
    """
    await database.execute(MANY, guest.id)
    page = Task.select(Task.id, Task.params).where(Task.owner == guest.id)
    sql, values = page.order_by(Task.id, ascending=False).limit(51).querystrings[0].compile_string()
    plans = {}
    for name, plan in {"planned": reads.PLANNED, "in order": reads.IN_ORDER}.items():
        async with database.transaction():
            await database.execute(reads.SET, list(plan), list(plan.values()))
            rows = await database.fetch(f"EXPLAIN {sql}", *values)
        plans[name] = "\n".join(row[0] for row in rows)
    assert "Sort" in plans["planned"]
    assert "Sort" not in plans["in order"]


@pytest.fixture
async def own_reads(settings: Settings) -> AsyncIterator[reads.Reads]:
    """The connection pool for slow reads of an API process."""
    requests = Database.for_service(settings.database_url, "test")
    opened = reads.Reads(settings.database_url, requests)
    requests.bind([Task])
    await opened.open()
    # Open all connections, because that takes a part of the time limit of the first reads.
    await asyncio.gather(*(opened.run("SELECT pg_sleep(0.1)") for _ in range(connections.API_READ_POOL)))
    yield opened
    await opened.close()


#: Counts the reads that wait for a lock on a table. Other statements of the API may wait for it too.
BLOCKED = """
    SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND relation = $1::text::regclass
      AND application_name IN ('often-api-reads', 'often-api-scans')
"""


async def test_twelve_searches_run_one_after_another(
    administrator: Person, settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first search waits for a lock and keeps its turn meanwhile."""
    monkeypatch.setattr(reads, "SEARCH_WAIT_S", 3.0)
    monkeypatch.setattr(search, "LOOK_S", 0.0)
    async with side_by_side(settings) as client:
        async with database.transaction():
            await database.execute(f"LOCK TABLE {TOMORROW} IN ACCESS EXCLUSIVE MODE")
            path, headers = "/api/v1/tasks?params.user_id=1", administrator.headers
            searches = [asyncio.create_task(client.get(path, headers=headers)) for _ in range(12)]
            counts = []
            # Longer than the time limit of the first scan
            ends = asyncio.get_running_loop().time() + reads.SCAN_LIMIT_S + 0.5
            while asyncio.get_running_loop().time() < ends:
                # Inside a transaction, the view would keep returning its first answer.
                await database.execute("SELECT pg_stat_clear_snapshot()")
                counts.append(await database.fetchval(BLOCKED, TOMORROW))
                await asyncio.sleep(0.01)
        answers = await asyncio.gather(*searches)
    assert max(counts) == 1
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["complete"] for answer in answers} == {True}


async def test_a_limited_read_uses_one_process_of_postgres(own_reads: reads.Reads) -> None:
    workers = Statement("SELECT current_setting('max_parallel_workers_per_gather') AS number")
    assert await own_reads.run_within(1, workers) == [{"number": "0"}]


async def test_a_scan_reads_in_order_in_one_process_and_is_ended_in_time(own_reads: reads.Reads) -> None:
    settings = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"
    expected = {**reads.SCANNED, "statement_timeout": "1000"}
    rows = await own_reads.scan(settings, [list(expected)])
    assert rows is not None
    assert {row["name"]: row["setting"] for row in rows} == expected
    assert await own_reads.scan("SELECT pg_sleep(30)", []) is None
    assert await own_reads.scan("SELECT 1 AS one", []) == [{"one": 1}]


async def test_a_short_look_goes_before_the_searches_that_wait(own_reads: reads.Reads) -> None:
    order: list[str] = []

    async def search_as(name: str, turn: AbstractAsyncContextManager[bool]) -> None:
        async with turn as has_turn:
            assert has_turn
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group, own_reads.search():
        for name in ("first", "second"):
            group.create_task(search_as(name, own_reads.search()))
        await asyncio.sleep(0)
        look = group.create_task(search_as("look", own_reads.look()))
        await asyncio.sleep(0)
        assert not look.done()
    assert order == ["look", "first", "second"]
