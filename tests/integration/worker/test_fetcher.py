"""Tests what a worker fetches: while all its queues are paused, while its interpreter is blocked,
and tasks that it does not know.
"""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.worker.claims import pace
from services.worker.claims.claims import Claims
from services.worker.claims.fetcher import Fetcher
from services.worker.claims.reconciler import Reconciler
from services.worker.claims.served import Served
from services.worker.recording.inbox import Inbox
from shared.errors import ServerAway
from shared.transport.keys import unacked_key
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, TASKS, Nothing


class Paused:
    """The fetching part of a worker whose only queue is paused."""

    def __init__(self, platform: Platform, worker: UUID) -> None:
        self.id = worker
        self.claims = Claims(threads=8)
        self.fetcher = Fetcher(
            worker,
            Served(["default"]),
            TASKS,
            self.claims,
            Inbox(platform.database),
            platform.database,
            platform.queues,
            blocked=lambda: False,
            turned=lambda: None,
        )
        self.fetcher.follow(["default"], quiet=False)


@pytest.fixture
async def paused(platform: Platform) -> Paused:
    worker = uuid4()
    sql = "INSERT INTO worker (id, hostname, pid, queues, threads, lock_key) VALUES ({}, 'test', 1, {}, 8, 1)"
    await platform.rows(sql, worker, ["default"])
    return Paused(platform, worker)


async def test_a_worker_whose_interpreter_is_kept_leaves_them_to_others(
    platform: Platform, paused: Paused
) -> None:
    first, second = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.queues.push_past("default", first)
    await paused.fetcher.run_once()
    assert paused.claims.ids() == {first}

    await platform.queues.push_past("default", second)
    paused.fetcher._pace.note_round(time.monotonic() - 10)
    await paused.fetcher.run_once()
    assert paused.claims.ids() == {first}
    paused.fetcher._pace.note_round(time.monotonic())
    paused.fetcher._pace.note_round(time.monotonic())
    await paused.fetcher.run_once()
    assert paused.claims.ids() == {first, second}


async def test_a_worker_whose_interpreter_is_kept_takes_what_nobody_else_takes(
    platform: Platform, paused: Paused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0)
    paused.fetcher.follow([], quiet=False)
    held = await platform.submit(INSTANT, Nothing(), count=2)
    await paused.fetcher.run_once()
    assert paused.claims.ids() == set(held)
    (late,) = await platform.submit(INSTANT, Nothing())
    paused.fetcher._pace.note_round(time.monotonic() - 10)
    for _ in range(pace.LOOKS - 1):
        await paused.fetcher.run_once()
    assert paused.claims.ids() == set(held)
    await paused.fetcher.run_once()
    assert paused.claims.ids() == {*held, late}


async def test_what_is_held_may_be_in_an_answer_that_was_lost(
    platform: Platform, paused: Paused, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.queues.push_past("default", task_id)
    await paused.fetcher.run_once()

    async def lost(*arguments: Any, **options: Any) -> None:
        raise ServerAway("Redis")

    monkeypatch.setattr(platform.queues, "take_past", lost)
    with pytest.raises(ServerAway):
        await paused.fetcher.run_once()
    assert paused.claims.fetched_again == {task_id}


async def test_a_task_that_is_parked_is_held_until_that_is_written(
    platform: Platform, paused: Paused
) -> None:
    """The worker parks a task that it does not know, and holds it until that is written.

    Otherwise the reconciliation would give it back, too, and the write would count as stale.
    """
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.rows("UPDATE task SET name = 'sample.tomorrow' WHERE id = {}", task_id)
    await platform.queues.push_past("default", task_id)
    await paused.fetcher.run_once()
    await Reconciler(paused.id, paused.claims, platform.database, platform.queues).run_once()
    assert UUID(int=(await platform.task(task_id))["holder"].int) == paused.id
    assert await platform.queues.unacked(paused.id) == {task_id}


async def test_a_worker_that_the_ledger_does_not_know_gives_back_what_it_has_fetched(
    platform: Platform,
) -> None:
    """After the ledger is restored from a backup, it has no row for this worker, so the rescuer
    would not look for the ids that the worker has fetched.
    """
    worker = await platform.worker_of(await platform.start_worker())
    assert worker is not None
    (task,) = await platform.submit(INSTANT, Nothing(), run_at=platform.database.now() + timedelta(days=1))
    await platform.rows("UPDATE task SET send_at = NULL, sent_at = now() WHERE id = {}", task)
    await platform.queues.client.sadd(unacked_key(worker), task.bytes)
    await platform.rows("DELETE FROM worker WHERE id = {}", worker)

    async def is_due_and_with_nobody() -> bool:
        due = await platform.rows("SELECT id FROM task WHERE id = {} AND send_at <= now()", task)
        return bool(due) and not await platform.queues.unacked(worker)

    await eventually(is_due_and_with_nobody)
