"""Tests of bodies that exceed their time limit or ignore a cancellation, and of tasks that wait too
long.
"""

import asyncio
import signal
import time
from dataclasses import fields
from datetime import timedelta
from uuid import UUID

import pytest

from local.ports import pick
from shared.contracts.contract import Contract
from shared.ledger.transitions.operate import CANCEL
from shared.settings import Settings
from tests.eventually import eventually
from tests.hostile_tasks import CLEAN_UP, LINGER
from tests.platform import Platform
from tests.sample_tasks import HASTY, LATER, LIMITED, STUBBORN, WAIT, WAIT_ASYNC, Done, Nothing, Seconds

#: Seconds until a worker process must have replaced itself: its time limit, interrupt, drain and
#: restart, with a margin.
REPLACED_LIMIT_S = 60
#: Seconds for which `docker stop` waits before it kills a container.
DOCKER_STOP_S = 10


async def test_a_body_past_its_limit_is_interrupted_and_fails(platform: Platform) -> None:
    await platform.start_worker()
    await platform.start_scheduler()
    (task_id,) = await platform.submit(LIMITED, Seconds(seconds=60))
    row = await platform.until(task_id, "success")
    assert (row["attempt"], row["failures"], row["interruptions"]) == (2, 1, 0)
    (first,) = await platform.attempts(task_id)
    assert (first["outcome"], first["error_kind"]) == ("retry", "time_limit")
    assert first["error_message"] == "TimeLimitExceeded: it ran longer than its limit of 1 s"
    assert 1 <= first["execution_time_seconds"] < 10
    assert "in limited" in first["error_traceback"]


async def test_a_body_that_ignores_its_interrupt_ends_with_its_process_and_others_run_again(
    platform: Platform,
) -> None:
    process = await platform.start_worker()
    await platform.start_scheduler()
    before = await platform.worker_of(process)
    (neighbour,) = await platform.submit(WAIT, Seconds(seconds=25))
    (task_id,) = await platform.submit(STUBBORN, Seconds(seconds=600))

    row = await platform.until(task_id, "failure", timeout_s=REPLACED_LIMIT_S)

    assert (row["error_kind"], row["attempt"], row["failures"], row["crashes"]) == ("time_limit", 1, 1, 0)
    await eventually(lambda: _replaced(platform, process.pid, before))
    assert process.poll() is None
    assert "in stubborn" in platform.log_of(process)
    row = await platform.until(neighbour, "success", timeout_s=REPLACED_LIMIT_S)
    assert (row["failures"], row["crashes"], row["interruptions"]) == (0, 0, 1)
    assert not row["suspect"]


@pytest.mark.parametrize("contract", [WAIT_ASYNC, STUBBORN], ids=["deaf", "stubborn"])
async def test_canceling_ends_a_body_that_does_not_check_for_it(
    platform: Platform, contract: Contract[Seconds, Done]
) -> None:
    await platform.start_worker()
    (task_id,) = await platform.submit(contract, Seconds(seconds=600))
    await platform.until(task_id, "started")
    await platform.database.run(CANCEL, id=task_id)
    await platform.queues.announce_cancel(task_id)
    row = await platform.until(task_id, "revoked", "failure", timeout_s=REPLACED_LIMIT_S)
    assert (row["status"], row["attempt"]) == ("revoked", 1)
    assert row["execution_time_seconds"] < REPLACED_LIMIT_S


async def test_a_body_chooses_when_to_retry(platform: Platform) -> None:
    await platform.start_worker()
    await platform.start_scheduler()
    (task_id,) = await platform.submit(LATER, Seconds(seconds=1.5))
    row = await platform.until(task_id, "success")
    first, second = await platform.attempts(task_id)
    # The second and third attempt started after the delay of about 2 s that the body asked for. The
    # contract's own delays would be 5 s and 15 s.
    assert 1.5 <= (second["started_at"] - first["ended_at"]).total_seconds() < 4.5
    assert 1.5 <= (row["started_at"] - second["ended_at"]).total_seconds() < 4.5
    assert (row["failures"], first["error_message"]) == (2, "Retry: not yet")


async def test_a_task_that_waits_too_long_expires_although_no_worker_runs(platform: Platform) -> None:
    await platform.start_scheduler()
    (hasty,) = await platform.submit(HASTY, Nothing())
    (patient,) = await platform.submit(WAIT, Seconds(seconds=0))
    row = await platform.until(hasty, "failure")
    assert (row["error_kind"], row["attempt"], row["sent_at"]) == ("expired", 0, None)
    assert (row["completed_at"] - row["created_at"]).total_seconds() >= 2
    assert (await platform.task(patient))["status"] == "pending"
    await platform.start_worker()
    await platform.until(patient, "success")
    assert (await platform.task(hasty))["attempt"] == 0


async def test_with_its_default_grace_a_worker_ends_within_the_10_s_of_docker_stop(
    platform: Platform,
) -> None:
    grace = next(field.default for field in fields(Settings) if field.name == "worker_grace")
    assert isinstance(grace, timedelta)
    process = await platform.start_worker(OFTEN_WORKER_GRACE=f"{grace.total_seconds():g}")
    # After its interrupt, this body needs a minute to clean up. The worker exits before that, and
    # hands the task's outcome over to the process that replaces it.
    (stuck,) = await platform.submit(CLEAN_UP, Seconds(seconds=60))
    await platform.until(stuck, "started")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, 30)
    assert time.monotonic() - began < DOCKER_STOP_S
    row = await platform.task(stuck)
    assert (row["status"], row["interruptions"], row["failures"]) == ("pending", 1, 0)


async def test_the_outcome_of_a_task_whose_hook_does_not_return_is_recorded_when_its_worker_stops(
    platform: Platform,
) -> None:
    port = pick("worker")["worker"]
    process = await platform.start_worker(OFTEN_WORKER_GRACE="0", OFTEN_METRICS_PORT=str(port))
    (task_id,) = await platform.submit(LINGER, Nothing())
    await eventually(lambda: "the hook begins" in platform.log_of(process))
    metrics = await platform.metrics(port)
    assert metrics["often_tasks_running['default', 'sample.linger']"] == 1
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 30) == 0
    assert "a hook does not return" in platform.log_of(process)
    await _succeeded_with_its_child(platform, task_id)


async def test_a_hook_that_does_not_return_ends_with_its_process(platform: Platform) -> None:
    process = await platform.start_worker()
    before = await platform.worker_of(process)
    (task_id,) = await platform.submit(LINGER, Nothing())
    await eventually(lambda: _replaced(platform, process.pid, before), REPLACED_LIMIT_S)
    assert "a hook ignores the interrupt" in platform.log_of(process)
    assert "in do_not_return" in platform.log_of(process)
    await _succeeded_with_its_child(platform, task_id)


async def _succeeded_with_its_child(platform: Platform, task_id: UUID) -> None:
    row = await platform.task(task_id)
    assert (row["status"], row["attempt"], row["interruptions"]) == ("success", 1, 0)
    assert len(await platform.rows("SELECT 1 FROM task WHERE parent = {}", task_id)) == 1


async def _replaced(platform: Platform, pid: int, before: UUID | None) -> bool:
    rows = await platform.rows("SELECT id FROM worker WHERE pid = {} AND stopped_at IS NULL", pid)
    return bool(rows) and rows[0]["id"] != before
