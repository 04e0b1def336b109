"""Lists and counts that take too long: they are refused as such, and hold up nothing else."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from shared.ledger import connections
from shared.ledger.partitions import partition_name
from shared.settings import Settings
from tests.eventually import eventually
from tests.integration.api.conftest import Person, side_by_side

HEALTH_CHECK = {"name": "system.health_check", "params": {}}
#: A list reads the partitions of all days, a submission writes to today's only.
TOMORROW = partition_name("task", datetime.now(UTC).date() + timedelta(days=1))
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


async def test_a_list_that_runs_out_of_time_answers_with_what_it_has(
    administrator: Person, settings: Settings, database: asyncpg.Connection
) -> None:
    async with side_by_side(settings) as client:
        async with database.transaction():
            await database.execute(f"LOCK TABLE {TOMORROW} IN ACCESS EXCLUSIVE MODE")
            for path in ("tasks", "tasks?error=x"):
                begun = time.monotonic()
                answer = await client.get(f"/api/v1/{path}", headers=administrator.headers)
                assert time.monotonic() - begun < 3
                page = answer.json()
                assert (answer.status_code, page["items"], page["complete"]) == (200, [], False)
            summary = await client.get("/api/v1/tasks/stats/summary", headers=administrator.headers)
        cursor = page["next_cursor"]
        again = await client.get(f"/api/v1/tasks?error=x&cursor={cursor}", headers=administrator.headers)
    assert (summary.status_code, summary.json()["type"]) == (504, "urn:often:problem:read-too-slow")
    assert (again.status_code, again.json()["complete"]) == (200, True)


async def test_a_read_without_postgres_says_that_postgres_is_away(
    administrator: Person, settings: Settings, database: asyncpg.Connection
) -> None:
    async with side_by_side(settings) as client, database.transaction():
        await database.execute(f"LOCK TABLE {TOMORROW} IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(client.get("/api/v1/tasks", headers=administrator.headers))
        text = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass"
        pid = await eventually(lambda: database.fetchval(text, TOMORROW))
        await database.execute("SELECT pg_terminate_backend($1)", pid)
        answer = await reading
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:often:problem:server-away")
    assert "terminating connection" in answer.json()["detail"]
