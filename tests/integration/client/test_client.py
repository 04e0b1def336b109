"""Tests of the sync client, against a real API process."""

import asyncio
import secrets
from uuid import uuid4

import pytest

from local.ports import pick
from often_client import ApiAway, ApiError, Client
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform

PASSWORD = "a horse, a battery"


@pytest.fixture
async def api(platform: Platform) -> Api:
    api = Api(platform)
    # Access tokens expire after 1 s, so that every later request needs a new one.
    await api.start(OFTEN_ACCESS_TOKEN_LIFE="1")
    return api


def signed_up(client: Client) -> Client:
    email = f"{secrets.token_hex(8)}@often.example"
    client.register(email, PASSWORD)
    client.sign_in(email, PASSWORD)
    return client


async def test_a_task_is_submitted_watched_listed_and_its_token_renewed(api: Api) -> None:
    await api.platform.start_worker()
    with Client(api.url) as client:
        signed_up(client)
        ids = client.submit_batch([{"name": "system.health_check", "params": {}}] * 120)
        task = await asyncio.to_thread(client.wait, ids[0])
        assert (task.status, task.result) == ("success", {"status": "healthy", "task_id": str(ids[0])})
        await asyncio.to_thread(client.wait, ids[-1])
        spent = client.session.refresh_token
        assert [task.id for task in client.tasks(page_size=50)] == ids[::-1]

        def renewed() -> bool:
            client.me()
            return client.session.refresh_token != spent

        await eventually(renewed)
        assert [attempt.outcome for attempt in client.attempts(ids[0])] == ["success"]
        with pytest.raises(ApiError, match="already ended as success"):
            client.cancel(ids[0])


async def test_an_error_names_the_fields(api: Api) -> None:
    with Client(api.url) as client:
        signed_up(client)
        with pytest.raises(ApiError, match=r"params\.x: is not a known field") as refused:
            client.submit("system.health_check", {"x": 1})
        assert refused.value.problem.status == 400
        with pytest.raises(ApiError) as unknown:
            client.task(uuid4())
        assert unknown.value.problem.status == 404


async def test_a_submission_outlasts_a_restart_of_the_api_and_is_stored_once(api: Api) -> None:
    with Client(api.url) as client:
        signed_up(client)
        await api.stop()
        submitting = asyncio.create_task(asyncio.to_thread(client.submit, "system.health_check", {}))
        await api.start()
        task_id = await submitting
        assert [task.id for task in client.tasks()] == [task_id]


async def test_a_refusal_for_the_rest_of_the_day_is_not_waited_for(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(platform)
    await api.start(OFTEN_RATE_LIMIT_USER="1/day")
    monkeypatch.setattr(
        "often_client.client.time.sleep", lambda seconds: pytest.fail(f"it waits {seconds} s")
    )
    with Client(api.url) as client:
        signed_up(client).me()
        with pytest.raises(ApiError, match=r"the limit of 1 per 1 day") as refused:
            client.me()
    assert refused.value.problem.status == 429


def test_an_api_that_is_away_is_said_to_be() -> None:
    address = f"http://127.0.0.1:{pick('api')['api']}"
    with Client(address, "often_x_y", retries=1) as client, pytest.raises(ApiAway, match="does not answer"):
        client.me()
