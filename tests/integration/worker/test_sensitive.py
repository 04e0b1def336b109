"""Tests that a sensitive value is stored only in the task's row, and only encrypted.

The test searches a dump of the database, Redis, logs and metrics.
"""

import httpx

from local.ports import pick
from local.postgres import Postgres
from tests.platform import Platform
from tests.sample_tasks import PAY, Pay

CARD = "4242-7777-0000-1234"


async def everything_in_redis(platform: Platform) -> bytes:
    client = platform.queues.client
    return b"".join([key + (await client.dump(key) or b"") async for key in client.scan_iter()])


async def test_a_sensitive_value_is_only_stored_encrypted_in_its_row(
    platform: Platform, postgres_server: Postgres
) -> None:
    port = pick("metrics")["metrics"]
    scheduler = await platform.start_scheduler()
    (task_id,) = await platform.submit(PAY, Pay(card=CARD))
    queued = await everything_in_redis(platform)
    worker = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    row = await platform.until(task_id, "success")
    async with httpx.AsyncClient(trust_env=False) as http:
        metrics = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    dump = postgres_server.run("pg_dump", "--data-only", platform.database_url)

    assert str(task_id) in dump
    logs = platform.log_of(worker) + platform.log_of(scheduler)
    assert "request with {'card': '[hidden]'} failed" in logs
    assert "often_tasks_started_total" in metrics
    for place in (dump, logs, metrics, str(queued), str(await everything_in_redis(platform))):
        assert CARD not in place

    # The body could read the value, and whoever has the key can decrypt the task's result.
    assert platform.vault.open_params(PAY, row["params"], task_id, None)[0].card == CARD
    result = platform.vault.read(PAY, "result", row["result"], task_id, None, unmask=True)
    assert result["receipt"] == f"paid with {CARD}"
    assert row["key_id"] == "test"
    (first,) = await platform.attempts(task_id)
    assert first["error_message"] == "ConnectionError: refused: '[hidden]'"


async def test_a_task_whose_encrypted_field_cannot_be_decrypted_fails_after_its_attempts(
    platform: Platform,
) -> None:
    first, second = [(await platform.submit(PAY, Pay(card=card)))[0] for card in (CARD, "another")]
    await platform.rows(
        "UPDATE task SET params = (SELECT params FROM task WHERE id = {}) WHERE id = {}", first, second
    )
    await platform.start_scheduler()
    await platform.start_worker()

    row = await platform.until(second, "success", "failure")

    assert (row["status"], row["failures"]) == ("failure", PAY.retries.max_attempts)
    assert "params.card" in row["error_message"]
    assert "belongs to another task or owner" in row["error_message"]
    assert (await platform.until(first, "success", "failure"))["status"] == "success"
