"""Tests that submitting a task stores its row and pushes its id to a lane."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.contracts.contract import Contract
from shared.errors import InvalidFields, KeyReused
from shared.ledger.transitions.send import UNCLAIMED_TO_POSTGRES
from shared.new_task import NewTask
from shared.submission import OnceKey, Submitter
from shared.telemetry import tracing
from shared.transport.queues import Queues, connect
from tests.platform import Platform
from tests.recorded_spans import RecordedSpans
from tests.sample_tasks import INSTANT, PAY, WAIT, Nothing, Pay, Seconds

NEW = NewTask(contract=INSTANT, params=Nothing())


async def in_lane(platform: Platform) -> int:
    return len(await platform.queues.head("default", 5, 100))


async def test_a_submitted_task_is_one_row_in_one_place_and_one_id(platform: Platform) -> None:
    (task_id,) = await platform.submitter.submit([NEW])
    row = await platform.task(task_id)
    assert (row["status"], row["sent_at"], row["holder"], row["claim"]) == ("pending", None, None, 0)
    assert await platform.queues.head("default", 5, 2) == [task_id]
    await platform.submitter.mark()
    row = await platform.task(task_id)
    assert (row["send_at"], row["sent_at"] is not None) == (None, True)


async def test_ids_are_returned_in_the_given_order(platform: Platform) -> None:
    new = [NewTask(contract=WAIT, params=Seconds(seconds=n)) for n in range(500)]
    rows = await platform.tasks(await platform.submitter.submit(new))
    assert [row["params"] for row in rows] == [f'{{"seconds": {n}}}' for n in range(500)]


async def test_tasks_of_several_kinds_keep_their_own_values(platform: Platform) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    some: list[dict[str, Any]] = [
        {},
        {"owner": 7, "delay": timedelta(hours=1)},
        {"priority": 9, "schedule": "nightly", "fire_time": noon},
    ]
    new = [
        NewTask(contract=PAY, params=Pay(card=f"{n}"), **some[n % 3])
        if n % 2
        else NewTask(contract=WAIT, params=Seconds(seconds=n), **some[n % 3])
        for n in range(60)
    ]
    stored = await platform.tasks(await platform.submitter.submit(new))
    for n, (task, row) in enumerate(zip(new, stored, strict=True)):
        params, _ = platform.vault.open_params(task.contract, row["params"], row["id"], row["owner"])
        assert (row["name"], params) == (task.contract.name, task.params)
        assert row["key_id"] == (platform.vault.current if n % 2 else None)
        assert row["priority"] == (9 if n % 3 == 2 else 5)
        assert all(row[column] == some[n % 3].get(column) for column in ("owner", "schedule", "fire_time"))
        assert (row["send_at"] - row["created_at"] == timedelta(hours=1)) == (n % 3 == 1)


async def test_ids_are_pushed_after_the_commit_of_a_transaction(platform: Platform) -> None:
    async with platform.submitter.transaction():
        await platform.submitter.submit([NEW])
        assert await in_lane(platform) == 0
    assert await in_lane(platform) == 1


def once(body: str, key: str = "k") -> OnceKey:
    return OnceKey("owner:1", key, body.encode())


async def test_one_of_many_submissions_under_one_key_is_stored(platform: Platform) -> None:
    submissions = [platform.submitter.submit_once([NEW, NEW], once("a")) for _ in range(100)]
    answers = await asyncio.gather(*submissions)
    ids = {tuple(ids) for ids, _ in answers}
    assert (len(ids), sum(first for _, first in answers)) == (1, 1)
    stored = await platform.rows("SELECT id FROM task ORDER BY id")
    assert tuple(UUID(int=row["id"].int) for row in stored) == ids.pop()
    assert await in_lane(platform) == 2


async def test_a_key_is_valid_for_one_body_and_for_a_day(platform: Platform) -> None:
    (first,), _ = await platform.submitter.submit_once([NEW], once("a"))
    with pytest.raises(KeyReused):
        await platform.submitter.submit_once([NEW], once("b"))
    (other,), is_first = await platform.submitter.submit_once([NEW], once("b", key="l"))
    assert is_first
    await platform.rows("UPDATE submission_key SET created_at = now() - interval '25 h' WHERE key = 'k'")
    (later,), is_first = await platform.submitter.submit_once([NEW], once("b"))
    assert is_first
    assert len({first, other, later}) == 3


async def test_a_transaction_that_rolls_back_leaves_neither_row_nor_id(platform: Platform) -> None:
    async def fails() -> None:
        async with platform.submitter.transaction():
            await platform.submitter.submit([NEW])
            raise LookupError

    with pytest.raises(LookupError):
        await fails()
    assert await in_lane(platform) == 0
    assert not await platform.rows("SELECT 1 FROM task")


async def test_in_a_foreign_transaction_the_row_waits_for_the_dispatcher(platform: Platform) -> None:
    async with platform.database.transaction():
        (task_id,) = await platform.submitter.submit([NEW])
    assert await in_lane(platform) == 0
    await platform.start_scheduler()
    await platform.start_worker()
    await platform.until(task_id, "success")


async def test_a_task_is_accepted_while_redis_is_away_and_sent_later(platform: Platform) -> None:
    away = Queues(connect("redis://127.0.0.1:1", socket_timeout_s=0.2))
    (task_id,) = await Submitter(platform.database, away, platform.vault).submit([NEW])
    assert (await platform.task(task_id))["send_at"] is not None
    await platform.start_scheduler()
    await platform.start_worker()
    await platform.until(task_id, "success")
    await away.client.aclose()


async def test_a_late_mark_does_not_hide_a_retry(platform: Platform) -> None:
    (task_id,) = await platform.submitter.submit([NEW])
    later = datetime.now(UTC) + timedelta(hours=1)
    await platform.rows(
        "UPDATE task SET claim = 1, status = 'retry', send_at = {} WHERE id = {}", later, task_id
    )
    await platform.submitter.mark()
    assert (await platform.task(task_id))["send_at"] == later


async def test_a_late_mark_does_not_hide_an_id_that_was_fetched_and_given_up(platform: Platform) -> None:
    (task_id,) = await platform.submitter.submit([NEW])
    await platform.rows(UNCLAIMED_TO_POSTGRES, id=[task_id])
    await platform.submitter.mark()
    row = await platform.task(task_id)
    assert row["send_at"] is not None
    assert row["sent_at"] is None


@pytest.mark.parametrize(
    "change",
    ["sent_at = now()", "send_at = NULL", "holder = uuidv7()", "status = 'success'", "status = 'started'"],
)
async def test_the_database_refuses_a_row_that_is_not_in_exactly_one_place(
    platform: Platform, change: str
) -> None:
    (task_id,) = await platform.submitter.submit([NEW])
    with pytest.raises(asyncpg.CheckViolationError):
        await platform.rows(f"UPDATE task SET {change} WHERE id = {{}}", task_id)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"priority": 10}, "priority"),
        ({"delay": timedelta(seconds=-1)}, "delay_s"),
        ({"delay": timedelta(days=1000)}, "delay_s"),
        ({"delay": timedelta(1), "run_at": datetime.now(UTC)}, "run_at"),
        ({"run_at": datetime(2030, 1, 1)}, "run_at"),  # noqa: DTZ001 - the missing zone is the point
        ({"expires_at": datetime.now(UTC) - timedelta(1)}, "expires_at"),
    ],
)
async def test_options_that_break_a_rule_are_refused_by_name(
    platform: Platform, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFields) as refused:
        await platform.submitter.submit([NEW, NewTask(contract=INSTANT, params=Nothing(), **options)])
    assert [problem.field for problem in refused.value.problems] == [field]
    assert not await platform.rows("SELECT 1 FROM task")


@pytest.mark.parametrize("contract", [INSTANT, PAY])
async def test_a_task_refers_to_the_span_that_submits_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, contract: Contract[Any, Any]
) -> None:
    spans = RecordedSpans()
    monkeypatch.setattr(tracing, "_spans", spans)
    params = Pay(card="4111") if contract is PAY else Nothing()
    with tracing.firing("nightly"):
        (task_id,) = await platform.submit(contract, params)
    _, producer = spans.begun
    assert (await platform.task(task_id))["trace_context"] == producer.context
    assert producer.attributes["messaging.destination.name"] == contract.queue
    assert "4111" not in repr(producer)
    (untraced,) = await platform.submit(contract, params)
    assert (await platform.task(untraced))["trace_context"] is None
