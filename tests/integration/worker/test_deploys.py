"""Tests that tasks that one release has submitted run under another release."""

import json
import secrets
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from local.ports import pick
from services.api.identity.rights import Reach, Reader
from services.api.reads import Reads
from services.api.tasks.ledger_view import LedgerView
from services.worker.claims.fetcher import PARKED_S
from shared.contracts.catalogue import Catalogue
from shared.identity.tables import Role
from shared.ledger.task_filter import TaskFilter
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import GROWN, INSTANT, Nothing, Seconds

READER = Reader(1, Role.OPERATOR, Reach.ALL)


@pytest.mark.parametrize(
    ("version", "params", "seconds"),
    [(1, {"minutes": 2}, 120), (2, {"wait_s": 3}, 3), (3, {"seconds": 4}, 4)],
)
async def test_parameters_of_an_older_version_are_read(
    platform: Platform, version: int, params: dict[str, Any], seconds: float
) -> None:
    (task_id,) = await platform.submit(GROWN, Seconds(seconds=0))
    await platform.rows(
        "UPDATE task SET contract_version = {}, params = {}::text::jsonb WHERE id = {}",
        version,
        json.dumps(params),
        task_id,
    )
    await platform.start_worker()
    row = await platform.until(task_id, "success", "failure")
    assert json.loads(row["result"] or "null") == {"seconds": seconds}


async def test_a_version_without_an_upcast_fails_with_the_reason(platform: Platform) -> None:
    (task_id,) = await platform.submit(GROWN, Seconds(seconds=0))
    await platform.rows("UPDATE task SET contract_version = 0 WHERE id = {}", task_id)
    await platform.start_worker()
    row = await platform.until(task_id, "failure")
    assert (row["error_kind"], row["attempt"]) == ("permanent", 1)
    assert "params: are of version 0, which sample.grown can't read any more" in row["error_message"]


async def test_a_task_under_its_former_name_in_its_former_queue_runs(platform: Platform) -> None:
    (task_id,) = await platform.submit(GROWN, Seconds(seconds=5))
    await platform.queues.client.flushdb()
    await platform.rows(
        "UPDATE task SET name = 'sample.nap', queue = 'naps', sent_at = NULL, send_at = now() WHERE id = {}",
        task_id,
    )
    await platform.start_scheduler()
    await platform.start_worker()
    row = await platform.until(task_id, "success")
    assert json.loads(row["result"]) == {"seconds": 5}


async def test_a_task_of_a_later_release_waits_with_the_reason(platform: Platform) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.rows("UPDATE task SET name = 'sample.tomorrow' WHERE id = {}", ids[0])
    await platform.rows("UPDATE task SET contract_version = 2 WHERE id = {}", ids[1])
    await platform.start_worker()
    for task_id, what in zip(ids, ("sample.tomorrow version 1", "sample.instant version 2"), strict=True):
        row = await eventually(partial(_waiting, platform, task_id))
        assert row["wait_reason"] == f"no worker knows {what} yet"
        assert (row["status"], row["attempt"], row["failures"]) == ("pending", 0, 0)
        waits_s = (row["send_at"] - row["claimed_at"]).total_seconds()
        assert PARKED_S <= waits_s < PARKED_S + 5, "the task comes back when the log says so"


async def test_an_operator_sees_why_a_task_is_parked_and_cancels_it(platform: Platform) -> None:
    api, metrics = Api(platform), pick("metrics")["metrics"]
    await api.start(OFTEN_METRICS_PORT=str(metrics))
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.rows("UPDATE task SET name = 'sample.tomorrow' WHERE id = {}", task_id)
    await platform.start_worker()
    await eventually(partial(_waiting, platform, task_id))
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", trust_env=False) as http:
        somebody = {"email": "olga@often.example", "password": secrets.token_hex(8)}
        await http.post("/auth/register", json=somebody)
        await platform.rows("UPDATE account SET role = 'operator'")
        tokens = (await http.post("/auth/login", json=somebody)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        seen = (await http.get(f"/tasks/{task_id}")).json()
        answer = await http.delete(f"/tasks/{task_id}")
    assert (seen["status"], seen["attempt"]) == ("pending", 0)
    assert seen["wait_reason"] == "no worker knows sample.tomorrow version 1 yet"
    assert seen["scheduled_for"] is not None
    assert (answer.status_code, answer.json()["status"]) == (200, "revoked")
    scraped = await platform.metrics(metrics)
    assert scraped["often_cancel_seconds_count['waiting']"] == 1
    assert 0 < scraped["often_cancel_seconds_sum['waiting']"] < 5


async def test_a_task_whose_queue_no_worker_serves_shows_the_reason(platform: Platform) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    reads = Reads(platform.database_url, platform.database)
    view = LedgerView(platform.database, reads, Catalogue([]), platform.vault)
    seen = await view.find(task_id, READER)
    assert seen["wait_reason"] == "no worker serves the queue default"
    page = await view.page(READER, TaskFilter(), limit=1, cursor=None)
    assert page.items[0].wait_reason == "no worker serves the queue default"

    worker = await platform.start_worker(OFTEN_WORKER_QUEUES="maintenance")
    assert (await view.find(task_id, READER))["wait_reason"] == "no worker serves the queue default"
    worker.terminate()
    await platform.start_worker()
    await platform.until(task_id, "success")
    assert (await view.find(task_id, READER))["wait_reason"] is None


async def _waiting(platform: Platform, task_id: UUID) -> dict[str, Any] | None:
    row = await platform.task(task_id)
    return row if row["wait_reason"] else None
