"""Tests of the async client as an operator uses it, against real API and worker processes."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from often_client import AsyncClient, BadRequest, Conflict, Event, Forbidden
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform

PASSWORD = "a horse, a battery"


@pytest.fixture
async def api(platform: Platform) -> Api:
    api = Api(platform)
    # Access tokens expire after 2 s, so that later requests need a new one.
    await api.start(OFTEN_ACCESS_TOKEN_LIFE="2")
    return api


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(api.url) as client:
        email = f"{secrets.token_hex(8)}@often.example"
        account = await client.register(email, PASSWORD)
        await api.platform.rows("UPDATE account SET role = 'operator' WHERE id = {}", account.id)
        await client.sign_in(email, PASSWORD)
        yield client


async def test_a_task_is_followed_from_its_submission_to_its_audit_entry(
    platform: Platform, operator: AsyncClient
) -> None:
    task_id = await operator.submit("system.health_check", delay_s=3_600, key="once")
    assert await operator.submit("system.health_check", delay_s=3_600, key="once") == task_id
    with pytest.raises(Conflict):
        await operator.submit("system.health_check", delay_s=60, key="once")
    with pytest.raises(BadRequest) as refused:
        await operator.submit("system.health_check", {"x": 1})
    assert refused.value.fields == {"params.x": "is not a known field"}
    with pytest.raises(TimeoutError, match="is still pending"):
        await operator.wait(task_id, 0.1)

    await operator.cancel(task_id)
    await operator.retry(task_id, priority=9, delay_s=3_600, reason="once more")
    assert (await operator.change(task_id, priority=3)).priority == 3
    following = asyncio.create_task(seen(operator.task_events(task_id, logs="debug")))
    listed = asyncio.create_task(outcome_of(task_id, operator.events(name="system.health_check")))
    await platform.start_scheduler()
    await platform.start_worker()
    await operator.run_now(task_id)

    events = await following
    assert (events[0].event, events[-1].event) == ("state", "end")
    assert (ended := events[-1].task) is not None
    assert (ended.status, ended.progress_percentage) == ("success", 100)
    assert await listed == "success"
    assert (await operator.wait(task_id)).priority == 3
    assert [attempt.outcome for attempt in await operator.attempts(task_id)] == ["success"]
    assert (await operator.result(task_id)).result["status"] == "healthy"
    assert (await operator.logs(task_id)).task_finished
    acts = [
        entry.action async for entry in operator.audit(target_kind="task", target=str(task_id), page_size=2)
    ]
    assert acts[:4] == ["task.run_now", "task.changed", "task.retried", "task.canceled"]

    (worker,) = [each async for each in operator.workers()]
    assert (await operator.drain_worker(worker.id)).asked == "drain"
    await eventually(lambda: platform.processes[-1].poll() == 0)


async def test_queues_schedules_workflows_and_statistics_are_read_and_changed(
    platform: Platform, operator: AsyncClient
) -> None:
    paused = await operator.pause_queue("maintenance", "the disk is full")
    assert (await operator.queue("maintenance")).paused == paused.paused
    assert (await operator.resume_queue("maintenance")).paused == paused.paused
    with pytest.raises(Forbidden):
        await operator.purge_queue("maintenance", confirm="maintenance")

    await operator.create_schedule(
        "checks.often", "system.health_check", {}, kind="interval", expression="6 h", overlap="skip"
    )
    assert not (await operator.pause_schedule("checks.often")).enabled
    assert (await operator.fire_schedule("checks.often")).task_id is not None
    assert [each.outcome async for each in operator.firings("checks.often")] == ["submitted"]
    await operator.delete_schedule("checks.often")
    assert "checks.often" not in {each.name async for each in operator.schedules(page_size=1)}

    check: dict[str, Any] = {"task": "system.health_check", "params": {}}
    workflow_id = await operator.submit_workflow(
        "checks", [{"step": "first", **check}, {"step": "second", **check}]
    )
    following = asyncio.create_task(seen(operator.workflow_events(workflow_id)))
    assert (await operator.cancel_workflow(workflow_id)).workflow_id == workflow_id
    await platform.start_scheduler()
    assert (await following)[-1].event == "end"
    assert (await operator.workflow(workflow_id)).status == "revoked"
    assert [each.id async for each in operator.workflows(status="revoked")] == [workflow_id]
    assert [each.step async for each in operator.members(workflow_id, "second")] == ["second"]

    assert (await operator.waits()).waiting.exact
    assert (await operator.summary()).revoked_tasks >= 0
    assert (await operator.series(hours=1)).step_s > 0
    assert (await operator.kinds(hours=1)).since < datetime.now(UTC)


async def test_a_token_is_renewed_once_and_a_stream_outlasts_a_restart_of_the_api(
    api: Api, operator: AsyncClient
) -> None:
    spent = operator.session.refresh_token

    async def is_renewed() -> bool:
        await asyncio.gather(*(operator.me() for _ in range(10)))
        return operator.session.refresh_token != spent

    await eventually(is_renewed)
    # The client has used each refresh token only once. A second use would have ended the session.
    assert (await operator.me()).role == "operator"

    task_id = await operator.submit("system.health_check", delay_s=3_600)
    stream = operator.task_events(task_id)
    assert (await anext(stream)).event == "state"
    await api.stop()
    await api.start()
    canceling = asyncio.create_task(operator.cancel(task_id))
    assert [event.event async for event in stream if event.event != "state"][-1] == "end"
    await canceling


async def outcome_of(task_id: UUID, stream: AsyncGenerator[Event, None]) -> str:
    """Wait until the task ends, and return its final status.

    The stream reports many tasks and never ends itself.
    """
    async with aclosing(stream) as events:
        async for event in events:
            for change in event.tasks:
                if change.task_id == task_id and change.is_final:
                    return change.status
    raise AssertionError("the stream has ended")


async def seen(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]
