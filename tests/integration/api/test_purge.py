"""Tests of the purge, by which administrators cancel all tasks that wait in a queue."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from services.api.operations import purge
from shared.ledger.database import Database
from shared.ledger.transitions import operate
from shared.settings import Settings
from shared.transport import events
from tests.eventually import eventually
from tests.explain import explain
from tests.integration.api.conftest import Person, side_by_side
from tests.platform import Platform

CHECK = {"name": "system.health_check", "params": {}}
LATER = {**CHECK, "delay_s": 3600}
CONFIRMED = {"confirm": "default"}
SENT = "UPDATE task SET sent_at = now(), send_at = NULL"
ENDED = """
    INSERT INTO task (name, type, queue, priority, params, status, completed_at, send_at)
    SELECT 'sample.instant', 'sample', 'default', 5, '{{}}', 'success', now(), NULL
    FROM generate_series(1, 20000)
"""
BLOCKED = "SELECT 1 FROM pg_locks WHERE NOT granted"
#: Tolerated difference in the number of blocks read, in case an index gets one level deeper or a
#: catalog gets a further page.
SLACK = 100


async def test_a_purge_cancels_waiting_tasks_and_returns_their_number(
    administrator: Person, database: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH", 2)
    monkeypatch.setattr(purge, "MOST", 5)
    for _ in range(5):
        await administrator.post("tasks", CHECK)
    await database.execute(SENT)
    for _ in range(3):
        await administrator.post("tasks", LATER)
    other = {"name": "sample.greet", "params": {"user_id": administrator.id}, "delay_s": 60}
    await administrator.post("tasks", other)
    assert (await administrator.post("queues/default/purge", {"confirm": "defautl"})).status_code == 400

    answers = [(await administrator.post("queues/default/purge", CONFIRMED)).json() for _ in range(2)]

    assert [(answer["canceled"], answer["more"]) for answer in answers] == [(5, True), (3, False)]
    rows = await database.fetch("SELECT queue, status, count(*) AS n FROM task GROUP BY 1, 2 ORDER BY 1")
    assert [tuple(row) for row in rows] == [("default", "revoked", 8), ("greetings", "pending", 1)]
    recorded = await database.fetch(
        "SELECT (after ->> 'canceled')::int FROM audit WHERE action = 'queue.purged' ORDER BY id"
    )
    assert [row[0] for row in recorded] == [2, 2, 1, 2, 1]


async def test_open_streams_receive_a_purge(
    administrator: Person, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH", 2)
    ids = [UUID((await administrator.post("tasks", LATER)).json()["task_id"]) for _ in range(4)]
    heard: dict[UUID, str] = {}
    async with platform.queues.client.pubsub() as listener:
        await listener.psubscribe("often:events:*")

        async def hears_of_all(wanted: list[UUID]) -> bool:
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                heard.update({task.id: task.status for task in events.decode(message["data"]).tasks})
            return set(wanted) <= heard.keys()

        # Delete one task first, and wait for its message. Until the API has seen a subscriber, it
        # publishes only one message per half second.
        await administrator.delete(f"tasks/{ids[0]}")
        await eventually(lambda: hears_of_all(ids[:1]))
        await administrator.post("queues/default/purge", CONFIRMED)
        await eventually(lambda: hears_of_all(ids))
    assert set(heard.values()) == {"revoked"}


async def test_a_row_that_is_locked_for_a_moment_is_purged_too(
    administrator: Person, database: Any, platform: Platform, settings: Settings
) -> None:
    for body in (LATER, CHECK):
        await administrator.post("tasks", body)
    async with side_by_side(settings) as administrator.client:
        async with database.transaction():
            await database.execute("SELECT id FROM task FOR UPDATE")
            purging = asyncio.create_task(administrator.post("queues/default/purge", CONFIRMED))
            await eventually(lambda: platform.rows(BLOCKED))
        assert (await purging).json()["canceled"] == 2


async def test_a_purge_reads_no_task_that_has_ended(platform: Platform) -> None:
    before = await _blocks(platform)
    await platform.rows(ENDED)
    await platform.rows("ANALYZE task")
    after = await _blocks(platform)
    assert {name: count for name, count in after.items() if count > before[name] + SLACK} == {}


async def _blocks(platform: Platform) -> dict[str, int]:
    """Number of blocks that each statement of a purge reads when there is no row to change."""
    database = Database.for_service(platform.database_url, "api", planned_once=True)
    looks: dict[str, tuple[Any, dict[str, Any]]] = {
        "find": (operate.FIND_WAITING, {"queue": "default", "limit": purge.MOST}),
        "purge": (operate.PURGE, {"queue": "default", "ids": [UUID(int=0)] * purge.BATCH}),
    }
    found = {}
    for name, (statement, values) in looks.items():
        (row,) = await database.run(explain(statement, "ANALYZE, BUFFERS, FORMAT JSON"), **values)
        (plan,) = json.loads(row["QUERY PLAN"])
        found[name] = int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
    return found
