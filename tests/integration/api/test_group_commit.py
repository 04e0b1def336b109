"""Tests of group commit: concurrent submissions share one commit, but do not affect each other."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from services.api.grouping import Grouping
from shared.contracts.contract import Contract, Retries
from shared.new_task import CheckedTask, NewTask
from shared.telemetry import tracing
from tests.eventually import eventually
from tests.platform import Platform
from tests.recorded_spans import RecordedSpans
from tests.sample_tasks import FAIL, Fails

COMMITS = "SELECT count(DISTINCT xmin::text) AS n FROM task"
WAITS_FOR_LOCK = """
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
#: A contract whose tasks Postgres refuses to store, because their number of attempts does not fit
#: into its column.
BROKEN = dataclasses.replace(FAIL, retries=Retries(max_attempts=100_000))


def checked(platform: Platform, kind: str, contract: Contract[Any, Any] = FAIL) -> CheckedTask:
    return platform.submitter.checked(NewTask(contract=contract, params=Fails(kind=kind)))


def grouped(platform: Platform) -> Grouping[CheckedTask, UUID]:
    return Grouping(platform.submitter.submit)


async def test_requests_that_arrive_during_a_write_are_stored_together(platform: Platform) -> None:
    group = grouped(platform)

    ids = await asyncio.gather(*(group.join(checked(platform, f"kind {n}")) for n in range(50)))

    rows = {row["id"]: row["params"] for row in await platform.tasks(ids)}
    assert [rows[task_id] for task_id in ids] == [f'{{"kind": "kind {n}", "times": 1000}}' for n in range(50)]
    assert (await platform.rows(COMMITS))[0]["n"] < 5
    await group.join(checked(platform, "alone"))
    assert len(await platform.rows("SELECT 1 FROM task")) == 51


async def test_a_request_abandoned_while_it_waits_is_not_stored(platform: Platform) -> None:
    group = grouped(platform)
    blocking = await platform.database.connect()
    try:
        async with blocking.transaction():
            await blocking.execute("LOCK TABLE task IN SHARE MODE")
            stored = asyncio.create_task(group.join(checked(platform, "stored")))
            await eventually(lambda: platform.rows(WAITS_FOR_LOCK))
            given_up = asyncio.create_task(group.join(checked(platform, "given up")))
            await asyncio.sleep(0)
            given_up.cancel()
            waits = asyncio.create_task(group.join(checked(platform, "waits")))
            await asyncio.wait([given_up])
    finally:
        await blocking.close()
    ids = {await stored, await waits}
    assert {row["id"] for row in await platform.rows("SELECT id FROM task")} == ids


async def test_a_task_that_postgres_refuses_does_not_affect_its_neighbors(platform: Platform) -> None:
    group = grouped(platform)
    tasks = [checked(platform, f"kind {n}") for n in range(10)]
    tasks.insert(6, checked(platform, "broken", BROKEN))

    answers = await asyncio.gather(*map(group.join, tasks), return_exceptions=True)

    refused = [n for n, answer in enumerate(answers) if isinstance(answer, Exception)]
    assert refused == [6]
    assert isinstance(answers[6], asyncpg.DataError)
    assert len(await platform.rows("SELECT 1 FROM task")) == 10


async def test_a_group_belongs_to_the_trace_of_no_request() -> None:
    """A group commit stores tasks of many requests, so it belongs to none of their traces.

    Each task keeps the trace of its own request.
    """
    seen: list[object] = []

    async def go(wanted: Sequence[str]) -> list[str]:
        seen.append(tracing.labels())
        return list(wanted)

    group = Grouping[str, str](go)
    span = RecordedSpans().begin("POST", "SERVER", {}, parent=None, links=())
    with tracing.within(span):
        assert await group.join("task") == "task"
        assert tracing.labels() == span.labels
    assert seen == [None]
