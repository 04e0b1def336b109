"""Tests with a real worker of what happens to a task's row when its body returns, raises, reports
progress or submits children.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.contracts.contract import Contract
from tests.crew import Crew, StartCrew
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import (
    FAIL,
    INSTANT,
    SPAWN,
    TALK,
    WAIT,
    WAIT_ASYNC,
    Done,
    Fails,
    Nothing,
    Seconds,
    Spawns,
)


@pytest.fixture(scope="module")
def crew(start_crew: StartCrew) -> Crew:
    """A worker with one thread, and a scheduler, which sends tasks that wait in Postgres."""
    return start_crew(OFTEN_WORKER_THREADS="1")


@pytest.fixture
async def working(crew: Crew) -> AsyncIterator[Platform]:
    async with crew.platform() as platform:
        yield platform


@pytest.mark.parametrize("contract", [WAIT, WAIT_ASYNC], ids=["plain", "async"])
async def test_plain_and_async_bodies_work(working: Platform, contract: Contract[Seconds, Done]) -> None:
    (task_id,) = await working.submit(contract, Seconds(seconds=0.05))
    row = await working.until(task_id, "success")
    assert (row["result"], row["attempt"], row["progress_current"]) == ('{"attempt": 1}', 1, 100)
    assert row["created_at"] <= row["started_at"] < row["completed_at"]
    assert 0.05 <= row["execution_time_seconds"] < 5
    await working.all_acknowledged(row["worker"])


@pytest.mark.parametrize("kind", ["bug", "expected", "expected_by_contract"])
async def test_a_temporary_error_is_retried_and_each_attempt_is_stored(working: Platform, kind: str) -> None:
    (task_id,) = await working.submit(FAIL, Fails(kind=kind, times=1))
    row = await working.until(task_id, "success")
    assert (row["attempt"], row["failures"], row["error_kind"]) == (2, 1, None)
    (attempt,) = await working.attempts(task_id)
    assert (attempt["outcome"], attempt["error_kind"]) == ("retry", kind.removesuffix("_by_contract"))
    assert "raise ERRORS" in attempt["error_traceback"]


async def test_a_task_fails_when_its_attempts_are_used_up(working: Platform) -> None:
    (task_id,) = await working.submit(FAIL, Fails(kind="bug"))
    row = await working.until(task_id, "failure")
    assert (row["attempt"], row["failures"], row["error_kind"]) == (3, 3, "bug")
    assert row["error_message"] == "RuntimeError: nobody foresaw this"
    attempts = await working.attempts(task_id)
    assert [attempt["attempt"] for attempt in attempts] == [1, 2]
    assert {attempt["error_fingerprint"] for attempt in attempts} == {row["error_fingerprint"]}


@pytest.mark.parametrize("kind", ["permanent", "permanent_by_contract"])
async def test_a_permanent_error_is_not_retried(working: Platform, kind: str) -> None:
    (task_id,) = await working.submit(FAIL, Fails(kind=kind))
    row = await working.until(task_id, "failure")
    assert (row["attempt"], row["error_kind"]) == (1, "permanent")


async def test_progress_and_log_lines_are_stored_with_the_attempt(working: Platform) -> None:
    (task_id,) = await working.submit(TALK, Nothing())
    row = await working.until(task_id, "success")
    assert (row["progress_current"], row["progress_total"]) == (4, 4)
    assert row["progress_message"] == "two of four"
    lines = await working.rows(
        "SELECT claim, ordinal, level, message FROM task_log WHERE task_id = {} ORDER BY ordinal", task_id
    )
    assert [(line["claim"], line["ordinal"], line["level"], line["message"]) for line in lines] == [
        (1, 1, "info", "half way"),
        (1, 2, "warning", "a NUL \ufffd does no harm"),
    ]


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_rerun_does_not_spawn_its_children_twice(working: Platform, at_once: bool) -> None:
    (task_id,) = await working.submit(SPAWN, Spawns(children=5, at_once=at_once, then_fail=True))
    row = await working.until(task_id, "success")
    assert row["attempt"] == 2
    children = await working.rows("SELECT id FROM task WHERE parent = {}", task_id)
    assert len(children) == 5
    rows = await working.all_final([child["id"] for child in children])
    assert {child["status"] for child in rows} == {"success"}


async def test_a_failed_parent_leaves_no_children(working: Platform) -> None:
    (task_id,) = await working.submit(SPAWN, Spawns(children=5, then_fail=True))
    await working.rows("UPDATE task SET max_attempts = 1 WHERE id = {}", task_id)
    row = await working.until(task_id, "failure", "success")
    if row["status"] == "failure":
        assert not await working.rows("SELECT 1 FROM task WHERE parent = {}", task_id)


async def test_a_higher_priority_overtakes_a_backlog(working: Platform) -> None:
    backlog = await working.submit(WAIT, Seconds(seconds=0.05), count=60, priority=1)
    (urgent,) = await working.submit(WAIT, Seconds(seconds=0.01), priority=9)
    row = await working.until(urgent, "success")
    rows = await working.all_final(backlog)
    assert sum(r["started_at"] > row["started_at"] for r in rows) > 40


async def test_a_delayed_task_waits_in_postgres_and_runs_on_time(working: Platform) -> None:
    (task_id,) = await working.submit(INSTANT, Nothing(), delay=timedelta(seconds=1.5))
    row = await working.task(task_id)
    assert (row["sent_at"], row["holder"], row["status"]) == (None, None, "pending")
    done = await working.until(task_id, "success")
    assert timedelta(0) <= done["started_at"] - row["send_at"] < timedelta(seconds=5)


async def test_an_expired_task_fails_without_a_start(platform: Platform) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=0.5)
    (task_id,) = await platform.submit(INSTANT, Nothing(), expires_at=expires)
    await eventually(lambda: datetime.now(UTC) > expires)
    await platform.start_worker()
    row = await platform.until(task_id, "failure")
    assert (row["error_kind"], row["attempt"], row["started_at"]) == ("expired", 0, None)


async def test_a_worker_that_has_run_its_maximum_of_tasks_replaces_itself(platform: Platform) -> None:
    process = await platform.start_worker(OFTEN_WORKER_MAX_TASKS="20")
    first = await platform.worker_of(process)
    ids = await platform.submit(INSTANT, Nothing(), count=60)
    rows = await platform.all_final(ids)
    assert {(row["status"], row["attempt"]) for row in rows} == {("success", 1)}

    async def replaced() -> bool:
        return await platform.worker_of(process) != first

    await eventually(replaced)
    assert process.poll() is None
    stopped = await platform.rows("SELECT stopped_at, dead_at FROM worker WHERE id = {}", first)
    assert stopped[0]["stopped_at"] is not None
    assert stopped[0]["dead_at"] is None
