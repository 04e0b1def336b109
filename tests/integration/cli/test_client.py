"""The client against the API in a process of its own."""

import asyncio
import secrets
import subprocess
from uuid import uuid4

import httpx
import pytest

from cli.client import ApiAway, ApiError, Client
from local.ports import pick
from tests.eventually import eventually
from tests.platform import Platform

PASSWORD = "a horse, a battery"


class Api:
    """The API's process; it can be stopped and started again at its address."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.port = pick("api")["api"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._secret = secrets.token_hex(32)
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self, **environment: str) -> None:
        settings = {"OFTEN_API_PORT": str(self.port), "SECRET_KEY": self._secret, **environment}
        self.process = self.platform.start("services.api", **settings)
        await eventually(self._answers)

    async def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 30)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False


@pytest.fixture
async def api(platform: Platform) -> Api:
    api = Api(platform)
    # So short that every later request needs a new token.
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
        spent = client._refresh_token
        assert [task.id for task in client.tasks(limit=50)] == ids[::-1]
        await eventually(lambda: client.me() and client._refresh_token != spent)
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


async def test_an_api_that_is_away_is_said_to_be(api: Api) -> None:
    await api.stop()
    with Client(api.url, "often_x_y") as client, pytest.raises(ApiAway, match="does not answer"):
        await asyncio.to_thread(client.me)
