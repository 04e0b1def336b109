"""What a worker tells Prometheus about what it did."""

from local.ports import pick
from tests.platform import Platform
from tests.sample_tasks import FAIL, INSTANT, Fails, Nothing


async def test_a_worker_counts_starts_ends_retries_and_times(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_scheduler()
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    ids += await platform.submit(FAIL, Fails(kind="expected", times=1))
    await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    rows = await platform.all_final(ids)

    told = await platform.metrics(port)

    instant, fail = "['default', 'sample.instant']", "['default', 'sample.fail']"
    assert told[f"often_tasks_started_total{instant}"] == 3
    assert told[f"often_tasks_started_total{fail}"] == 2
    assert told["often_tasks_finished_total['default', 'sample.fail', 'success']"] == 1
    assert told["often_tasks_finished_total['default', 'retry', 'sample.fail']"] == 1
    assert told["often_tasks_retried_total['default', 'expected', 'sample.fail']"] == 1
    assert told[f"often_tasks_running{instant}"] == 0
    assert told[f"often_task_run_seconds_count{fail}"] == 2
    assert told[f"often_task_wait_seconds_count{instant}"] == 3
    # They waited at least until there was a worker.
    (worker,) = await platform.rows("SELECT started_at FROM worker")
    waited = sum((worker["started_at"] - row["created_at"]).total_seconds() for row in rows[:3])
    assert told[f"often_task_wait_seconds_sum{instant}"] > waited > 0
    assert told["often_recorder_batch_rows_sum[]"] >= 5
    assert told["often_recorder_lag_seconds_count[]"] >= 1
    assert told["often_recorder_blocked[]"] == 0
