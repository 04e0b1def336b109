"""Tests of the metrics that a worker exports."""

import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from local.ports import pick
from shared.ledger.transitions.operate import CANCEL
from shared.transport.queues import Address
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import (
    FAIL,
    INSTANT,
    STUBBORN,
    WAIT,
    WAIT_ASYNC,
    Fails,
    Nothing,
    Seconds,
)

#: Seconds until a worker process must have replaced itself: grace period, interrupt, drain and
#: restart, with a margin.
REPLACED_LIMIT_S = 60


async def test_a_worker_reports_a_task_that_starts_over_again_and_again(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    often, seldom = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.rows("UPDATE task SET interruptions = 3 WHERE id = {}", often)
    await platform.rows("UPDATE task SET interruptions = 2 WHERE id = {}", seldom)
    worker = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    await platform.all_final([often, seldom])
    scraped = await platform.metrics(port)
    assert scraped["often_tasks_started_over_total['default', 'sample.instant']"] == 1
    assert scraped["often_tasks_started_over_total['default', 'sample.wait']"] == 0
    (line,) = [line for line in platform.log_of(worker).splitlines() if "starts over" in line]
    assert str(often) in line
    assert "stopped or died 3 times" in line


async def test_a_worker_counts_starts_ends_retries_and_times(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_scheduler()
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    ids += await platform.submit(FAIL, Fails(kind="expected", times=1))
    await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    rows = await platform.all_final(ids)

    scraped = await platform.metrics(port)

    instant, fail = "['default', 'sample.instant']", "['default', 'sample.fail']"
    assert scraped[f"often_tasks_started_total{instant}"] == 3
    assert scraped[f"often_tasks_started_total{fail}"] == 2
    assert scraped["often_tasks_finished_total['default', 'sample.fail', 'success']"] == 1
    assert scraped["often_tasks_finished_total['default', 'retry', 'sample.fail']"] == 1
    assert scraped["often_tasks_retried_total['default', 'expected', 'sample.fail']"] == 1
    assert scraped[f"often_tasks_running{instant}"] == 0
    assert scraped[f"often_task_run_seconds_count{fail}"] == 2
    assert scraped[f"often_task_wait_seconds_count{instant}"] == 3
    # Each task waited at least until the worker started, so the sum of the waits must exceed this.
    (worker,) = await platform.rows("SELECT started_at FROM worker")
    waited = sum((worker["started_at"] - row["created_at"]).total_seconds() for row in rows[:3])
    assert scraped[f"often_task_wait_seconds_sum{instant}"] > waited > 0
    assert scraped["often_recorder_batch_rows_sum[]"] >= 5
    assert scraped["often_recorder_lag_seconds_count[]"] >= 1
    assert scraped["often_recorder_blocked[]"] == 0


async def test_a_workers_metrics_show_its_running_tasks_and_its_drain(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    process = await platform.start_worker(OFTEN_METRICS_PORT=str(port), OFTEN_WORKER_THREADS="3")
    first, second = await platform.submit(WAIT_ASYNC, Seconds(seconds=60), count=2)
    for task_id in (first, second):
        await platform.until(task_id, "started")
    longest = "often_task_longest_running_seconds['default', 'sample.wait_async']"
    scraped = await eventually(partial(_scraped, platform, port, lambda t: t[longest] > 1))
    assert scraped["often_tasks_running['default', 'sample.wait_async']"] == 2
    assert scraped["often_tasks_running['default', 'sample.instant']"] == 0
    assert "often_task_longest_running_seconds['default', 'sample.instant']" not in scraped
    assert (scraped["often_worker_threads[]"], scraped["often_worker_threads_busy[]"]) == (3, 2)
    (worker,) = await platform.rows("SELECT id, hostname, release FROM worker")
    known = sorted([str(worker["id"]), worker["hostname"], worker["release"]])
    assert scraped[f"often_worker_info{known}"] == 1
    # The worker and Postgres run on the same machine, so the offset between their clocks must be
    # almost zero.
    assert abs(scraped["often_clock_offset_seconds[]"]) < 1
    assert scraped["often_worker_tasks_held[]"] == 2
    assert scraped["often_worker_serves['default']"] == scraped["often_worker_state['running']"] == 1
    assert scraped["process_resident_memory_bytes[]"] > 2**20

    process.send_signal(signal.SIGTERM)
    draining = "often_worker_state['draining']"
    scraped = await eventually(partial(_scraped, platform, port, lambda t: t[draining] == 1))
    assert scraped["often_worker_serves['default']"] == scraped["often_worker_state['running']"] == 0


async def test_the_age_of_a_record_that_cannot_be_written_grows(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    # On a busy machine, seconds may pass before the row of the running task is locked.
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=5))
    await platform.until(task_id, "started")
    assert (await platform.metrics(port))["often_recorder_oldest_unwritten_seconds[]"] < 0.5
    async with platform.database.transaction():
        locked = await platform.rows("SELECT status FROM task WHERE id = {} FOR UPDATE", task_id)
        assert locked == [{"status": "started"}]
        age = "often_recorder_oldest_unwritten_seconds[]"
        await eventually(partial(_scraped, platform, port, lambda t: t[age] > 1))
    await platform.until(task_id, "success")
    assert (await platform.metrics(port))[age] == 0


async def test_the_time_to_cancel_is_reported_by_the_step_that_ended_the_task(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    # Make the task look as if its cancellation was requested while a worker held it, and the worker
    # then gave it back.
    (held,) = await platform.submit(INSTANT, Nothing())
    await platform.rows(
        "UPDATE task SET cancel_requested_at = now() - interval '1 minute' WHERE id = {}", held
    )
    await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    (looks,) = await platform.submit(WAIT, Seconds(seconds=60))
    (deaf,) = await platform.submit(WAIT_ASYNC, Seconds(seconds=60))
    await platform.until(held, "revoked")
    for task_id in (looks, deaf):
        await _cancel_running(platform, task_id)
    await platform.until(looks, "success")
    await platform.until(deaf, "revoked")
    scraped = await eventually(partial(_scraped, platform, port, lambda t: _cancels(t, "interrupt")[0] == 1))
    assert _cancels(scraped, "held") == (1, pytest.approx(60, abs=10))
    assert _cancels(scraped, "flag") == (1, pytest.approx(await _cancelled_after_s(platform, looks), abs=2))
    assert _cancels(scraped, "interrupt") == (
        1,
        pytest.approx(await _cancelled_after_s(platform, deaf), abs=2),
    )

    (stubborn,) = await platform.submit(STUBBORN, Seconds(seconds=600))
    await _cancel_running(platform, stubborn)
    await platform.until(stubborn, "revoked", timeout_s=REPLACED_LIMIT_S)
    # The body ignores its interrupt, so the worker had to replace its process. The new process
    # reports how long the cancellation took.
    scraped = await eventually(
        partial(_scraped, platform, port, lambda t: _cancels(t, "process")[0] == 1), REPLACED_LIMIT_S
    )
    assert _cancels(scraped, "process")[1] == pytest.approx(
        await _cancelled_after_s(platform, stubborn), abs=0.01
    )


async def test_records_of_an_ended_claim_are_counted_as_refused(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    process = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    (lost,) = await platform.submit(WAIT, Seconds(seconds=1))
    await platform.until(lost, "started")
    assert (await platform.metrics(port))["often_recorder_rows_total['refused']"] == 0
    # Make it look as if this worker had been declared dead, and another one had claimed the task.
    await platform.rows("UPDATE task SET claim = claim + 1, holder = {} WHERE id = {}", uuid4(), lost)
    scraped = await eventually(
        partial(_scraped, platform, port, lambda t: t["often_recorder_rows_total['refused']"] > 0)
    )
    assert scraped["often_recorder_rows_total['refused']"] == 1
    assert (await platform.task(lost))["status"] == "started"

    # A worker that is declared dead replaces its process at once. The metrics that no one has
    # scraped yet must survive that.
    before = await platform.worker_of(process)
    await platform.rows("UPDATE worker SET dead_at = now() WHERE id = {}", before)

    async def replaced() -> bool:
        return await platform.worker_of(process) != before

    await eventually(replaced, REPLACED_LIMIT_S)
    assert (await platform.metrics(port))["often_recorder_rows_total['refused']"] == 1


async def test_ids_that_were_fetched_again_are_counted_and_not_run_again(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    worker = await platform.worker_of(await platform.start_worker(OFTEN_METRICS_PORT=str(port)))
    assert worker is not None
    (ended,) = await platform.submit(INSTANT, Nothing())
    await platform.until(ended, "success")
    (running,) = await platform.submit(WAIT, Seconds(seconds=60))
    await platform.until(running, "started")
    await platform.queues.push(Address(i, "default", 5) for i in (ended, running))
    scraped = await eventually(
        partial(_scraped, platform, port, lambda t: t["often_worker_not_claimed_total[]"] == 2)
    )
    assert scraped["often_worker_claimed_total[]"] == 2
    assert scraped["often_tasks_started_total['default', 'sample.instant']"] == 1
    assert scraped["often_tasks_started_total['default', 'sample.wait']"] == 1
    # The running task's id stays in the unacked set in Redis, in case its worker dies.
    assert await platform.queues.unacked(worker) == {running}


async def test_a_parked_task_is_counted_under_its_name(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    unknown, newer = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.rows("UPDATE task SET name = 'sample.tomorrow' WHERE id = {}", unknown)
    await platform.rows("UPDATE task SET contract_version = 2 WHERE id = {}", newer)
    await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    parked = [
        f"often_worker_given_back_total['parked', '{n}']" for n in ("sample.tomorrow", "sample.instant")
    ]
    scraped = await eventually(partial(_scraped, platform, port, lambda t: t.keys() >= set(parked)))
    assert [scraped[name] for name in parked] == [1, 1]


async def _cancel_running(platform: Platform, task_id: UUID) -> None:
    await platform.until(task_id, "started")
    await platform.database.run(CANCEL, id=task_id)
    await platform.queues.announce_cancel(task_id)


async def _cancelled_after_s(platform: Platform, task_id: UUID) -> float:
    row = await platform.task(task_id)
    after: timedelta = row["completed_at"] - row["cancel_requested_at"]
    return after.total_seconds()


async def _scraped(
    platform: Platform, port: int, enough: Callable[[dict[str, float]], bool]
) -> dict[str, float] | None:
    """The process' metrics, if they satisfy `enough`.

    Returns None otherwise, or while the process is being replaced.
    """
    try:
        scraped = await platform.metrics(port)
    except httpx.TransportError:
        return None
    return scraped if enough(scraped) else None


def _cancels(scraped: dict[str, float], rung: str) -> tuple[float, Any]:
    """Number of cancellations that ended at this escalation step, and the sum of the seconds that
    they took.
    """
    name = "often_cancel_seconds"
    return scraped.get(f"{name}_count['{rung}']", 0), scraped.get(f"{name}_sum['{rung}']", 0)
