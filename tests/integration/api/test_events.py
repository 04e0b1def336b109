"""Event streams over real connections: what they show, to whom, and how they end."""

import asyncio
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from shared.transport import events
from shared.transport.events import Changes, TaskChange
from shared.workflows.shapes import chain
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import Workflow
from tests.api_process import Api
from tests.cut import Cut
from tests.event_stream import Followed, following
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, PAY, STEPS, WAIT, Nothing, Pay, Seconds, Steps

PASSWORD = "correct horse"
#: Longer than any test.
LONG = Seconds(seconds=300)


class Caller:
    """A signed-in account."""

    def __init__(self, http: httpx.AsyncClient, account_id: int, token: str) -> None:
        self.http = http
        self.id = account_id
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.http.get(path, params=params, headers=self.headers)

    def follow(self, path: str, after: str | None = None) -> Any:
        return following(self.http, path, self.headers, after=after)


@pytest.fixture
async def api(platform: Platform) -> Api:
    return Api(platform)


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"{api.url}/api/v1", trust_env=False, timeout=90, limits=limits
    ) as http:
        yield http


async def _caller(http: httpx.AsyncClient, name: str = "ann") -> Caller:
    credentials = {"email": f"{name}@often.example", "password": PASSWORD}
    account = (await http.post("/auth/register", json=credentials)).json()
    tokens = (await http.post("/auth/login", json=credentials)).json()
    return Caller(http, account["id"], tokens["access_token"])


def _lines(followed: Followed) -> list[str]:
    return [line["message"] for sent in followed.of("lines") for line in sent["lines"]]


async def test_a_task_is_followed_from_its_state_to_its_end(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await _caller(http)
    (task_id,) = await platform.submit(PAY, Pay(card="4000 1234 5678 9010"), owner=ann.id)
    async with ann.follow(f"/tasks/{task_id}/events?logs=info") as followed:
        state = await followed.until_event("state")
        await platform.start_scheduler()  # sends the second attempt
        await platform.start_worker()
        await followed.until_end()
    assert (followed.names[0], state["status"], state["task_id"]) == ("state", "pending", str(task_id))
    assert (state["task_name"], state["owner"], state["progress_percentage"]) == ("sample.pay", ann.id, 0)
    seen = followed.of("state", "change")
    assert [each["revision"] for each in seen] == sorted({each["revision"] for each in seen})
    assert "paying with [hidden]" in {each["progress_message"] for each in seen}
    row = await platform.task(task_id)
    assert followed.names[-1] == "end"
    assert (seen[-1]["status"], seen[-1]["revision"]) == ("success", row["revision"])
    assert len(_lines(followed)) == 2  # one of each attempt
    # Neither parameters nor the result, and nothing that is sealed in them.
    assert not {"params", "result"} & set().union(*seen)
    assert "4000" not in followed.text

    again = await ann.http.get(
        f"/tasks/{task_id}/events?logs=info", headers={**ann.headers, "Last-Event-ID": followed.last_id or ""}
    )
    assert (again.status_code, again.content) == (204, b"")


async def test_a_workflow_is_followed_with_its_steps_and_tasks(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann, bob = await _caller(http), await _caller(http, "bob")
    flow = Workflow("two", owner=ann.id)
    chain(flow.step(INSTANT, Nothing(), name="one"), flow.group(INSTANT, [Nothing()] * 3, name="many"))
    workflow = await WorkflowSubmitter(platform.database, platform.submitter, platform.vault).submit(flow)
    path = f"/workflows/{workflow}/events"
    assert (await bob.get(path)).status_code == 404
    async with ann.follow(path) as followed:
        state = await followed.until_event("state")
        await platform.start_worker()
        await followed.until_end()
    assert [(step["step"], step["state"]) for step in state["steps"]] == [
        ("one", "running"),
        ("many", "waiting"),
    ]
    moved = [change["workflow"] for change in followed.of("change") if "workflow" in change]
    assert [each["revision"] for each in moved] == sorted({each["revision"] for each in moved})
    assert (moved[-1]["status"], followed.names[-1]) == ("success", "end")
    tasks = [task for change in followed.of("change") for task in change["tasks"]]
    assert {task["step"] for task in tasks if task["status"] == "success"} == {"one", "many"}
    again = await ann.http.get(path, headers={**ann.headers, "Last-Event-ID": followed.last_id or ""})
    assert again.status_code == 204


async def test_a_client_that_comes_back_with_its_last_id_misses_no_line(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await _caller(http)
    await platform.start_worker()
    draws = random.Random(4)
    (task_id,) = await platform.submit(STEPS, Steps(count=200, pause_s=0.01), owner=ann.id)
    lines: list[str] = []
    last_id, ended, visits = None, False, 0
    while not ended:
        visits += 1
        async with ann.follow(f"/tasks/{task_id}/events?logs=debug", last_id) as followed:
            few = draws.randrange(1, 12)
            await followed.until(lambda f, few=few: len(f.events) >= few or f.has_ended)
        lines += _lines(followed)
        last_id, ended = followed.last_id, "end" in followed.names
        assert followed.names[0] == "state"
    assert lines == [f"line {number}" for number in range(1, 201)]
    assert visits > 3


async def test_a_list_that_comes_back_with_its_last_id_misses_no_task(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await _caller(http)
    await platform.start_worker()
    draws = random.Random(5)
    known: dict[str, dict[str, Any]] = {}
    last_id, visits = None, 0

    def all_ended(followed: Followed) -> bool:
        for change in followed.of("change"):
            for task in change["tasks"]:
                if task["revision"] > known.get(task["task_id"], {"revision": -1})["revision"]:
                    known[task["task_id"]] = task
        return len([task for task in known.values() if task["status"] == "success"]) == 60

    async with ann.follow("/events") as first:  # keeps nothing but the process listening
        await first.until_event("state")
        last_id = first.last_id
        ids = await platform.submit(STEPS, Steps(count=3, pause_s=0.02), owner=ann.id, count=60)
        ended = False
        while not ended:
            visits += 1
            assert visits < 100, known
            async with ann.follow("/events?name=sample.steps", last_id) as followed:
                few = draws.randrange(1, 5)
                await followed.until(lambda f, few=few: all_ended(f) or len(f.events) >= few)
            assert "resync" not in followed.names
            last_id = followed.last_id
            ended = all_ended(followed)
    assert known.keys() == {str(task_id) for task_id in ids}
    assert visits > 1

    async with ann.follow("/events", "tdeadbeef.7") as stranger:
        await stranger.until_event("resync")


async def test_streams_show_what_their_reader_may_see_and_no_longer_than_that(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann, bob = await _caller(http), await _caller(http, "bob")
    await platform.rows("UPDATE account SET role = 'administrator' WHERE id = {}", bob.id)
    (of_bob,) = await platform.submit(WAIT, LONG, owner=bob.id)
    assert (await ann.get(f"/tasks/{of_bob}/events")).status_code == 404

    async with (
        ann.follow("/events") as own,
        ann.follow(f"/events?owner={bob.id}") as others,
        bob.follow("/events") as everything,
        bob.follow(f"/tasks/{of_bob}/events") as his,
    ):
        for followed in (own, others, everything, his):
            await followed.until_event("state")
        (of_ann,) = await platform.submit(WAIT, LONG, owner=ann.id)
        (of_nobody,) = await platform.submit(WAIT, LONG)
        await platform.submit(WAIT, LONG, owner=bob.id)
        await everything.until(lambda f: len(_task_ids(f)) == 3)
        await own.until(_task_ids)
        assert _task_ids(own) == {str(of_ann)}
        # Changes by the API itself: lists do not read rows, so the API must have published these.
        await http.delete(f"/tasks/{of_ann}", headers=ann.headers)
        await own.until(lambda f: "revoked" in _statuses(f, of_ann))
        await http.post(f"/tasks/{of_ann}/retry", headers=bob.headers)
        await own.until(lambda f: _statuses(f, of_ann)[-1] == "pending")
        assert _task_ids(others) == set()
        assert {str(of_ann), str(of_nobody)} < _task_ids(everything)

        began = time.monotonic()
        change = {"is_active": False}
        answer = await http.patch(f"/accounts/{ann.id}", json=change, headers=bob.headers)
        assert answer.status_code == 200
        for followed in (own, others):
            assert "Sign in" in (await followed.until_event("expired"))["detail"]
            await followed.until_end()
        # The regular check of all viewers runs only every 15 s.
        assert time.monotonic() - began < 5
        assert not his.has_ended
        assert not everything.has_ended


def _statuses(followed: Followed, task_id: UUID) -> list[str]:
    tasks = [task for change in followed.of("change") for task in change["tasks"]]
    return [task["status"] for task in tasks if task["task_id"] == str(task_id)]


def _task_ids(followed: Followed) -> set[str]:
    return {task["task_id"] for change in followed.of("change") for task in change["tasks"]}


async def test_a_stream_ends_with_its_token_and_goes_on_with_the_next_one(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start(OFTEN_ACCESS_TOKEN_LIFE="5")
    ann = await _caller(http)
    (task_id,) = await platform.submit(WAIT, LONG, owner=ann.id)
    async with ann.follow(f"/tasks/{task_id}/events") as followed:
        assert "Renew" in (await followed.until_event("expired", 20))["detail"]
        await followed.until_end()
    assert (await ann.get(f"/tasks/{task_id}/events")).status_code == 401


async def test_an_account_has_a_bounded_number_of_streams(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann, bob = await _caller(http), await _caller(http, "bob")
    streams = [http.stream("GET", "/events", headers=ann.headers) for _ in range(20)]
    reads: list[AsyncIterator[bytes]] = []  # one that is forgotten would close its stream
    try:
        for stream in streams:
            answer = await stream.__aenter__()
            assert answer.status_code == 200
            reads.append(answer.aiter_bytes())
            await anext(reads[-1])
        refused = await ann.get("/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["type"] == "urn:often:problem:too-many-streams"
        async with bob.follow("/events") as his:
            await his.until_event("state")
    finally:
        for stream in streams:
            await stream.__aexit__(None, None, None)

    async def has_room() -> bool:
        async with http.stream("GET", "/events", headers=ann.headers) as answer:
            return answer.status_code == 200

    await eventually(has_room)


async def test_a_client_that_does_not_read_costs_little_and_gets_the_newest_states(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await _caller(http)
    request = (
        f"GET /api/v1/events HTTP/1.1\r\nHost: often\r\nAuthorization: {ann.headers['Authorization']}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.sendall(request.encode())
        async with ann.follow("/events") as quick:
            await quick.until_event("state")
            before = psutil.Process(api.process.pid).memory_info().rss
            ids = [UUID(int=number) for number in range(300)]
            for revision in range(1, 201):
                await _publish(platform, ids, revision, ann.id)
            await quick.until(lambda f: f.of("change") and f.of("change")[-1]["tasks"][0]["revision"] == 200)
            grown = psutil.Process(api.process.pid).memory_info().rss - before
            # 60,000 changes of 700 bytes each: 42 MB as JSON.
            assert grown < 16 * 2**20
            assert max(sent["overflow"] for sent in quick.of("change")) > 0
            assert max(len(sent["tasks"]) for sent in quick.of("change")) <= 200


async def _publish(platform: Platform, ids: list[UUID], revision: int, owner: int) -> None:
    changes = [
        TaskChange(i, revision, "started", "sample.wait", "default", owner, 1, 9, "x" * 400) for i in ids
    ]
    await platform.queues.client.publish(events.channel(platform.queues), events.encode(Changes(changes)))


async def test_without_redis_streams_say_so_and_still_bring_the_outcome(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    link = Cut(platform.redis_url)
    async with link.serving() as redis_url:
        await api.start(REDIS_URL=redis_url)
        ann = await _caller(http)
        (task_id,) = await platform.submit(INSTANT, Nothing(), owner=ann.id)
        (waiting,) = await platform.submit(WAIT, LONG, owner=ann.id, run_at=platform.database.now())
        async with (
            ann.follow(f"/tasks/{task_id}/events") as followed,
            ann.follow(f"/tasks/{waiting}/events") as other,
            ann.follow("/events") as listed,
        ):
            for each in (followed, other, listed):
                await each.until_event("state")
            link.cut()
            for each in (followed, other, listed):
                await each.until_event("degraded")
            await platform.start_worker()
            await followed.until_end()
            assert followed.of("change")[-1]["status"] == "success"
            link.mend()
            await other.until_event("resync")
            await listed.until_event("resync")
            (last,) = await platform.submit(INSTANT, Nothing(), owner=ann.id)
            await listed.until(lambda f: str(last) in _task_ids(f))


async def test_a_process_that_stops_says_goodbye_and_waits_for_no_stream(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await _caller(http)
    (task_id,) = await platform.submit(WAIT, LONG, owner=ann.id)
    async with ann.follow(f"/tasks/{task_id}/events") as followed, ann.follow("/events") as listed:
        await followed.until_event("state")
        await listed.until_event("state")
        waiting = asyncio.create_task(ann.get(f"/tasks/{task_id}/result", wait_s=60))
        retry = int(followed.text.partition("retry: ")[2].partition("\n")[0])
        assert 1_000 <= retry < 5_000
        began = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        await followed.until_event("bye")
        await listed.until_event("bye")
        answer = await waiting
        assert (answer.status_code, answer.json()["status"]) == (200, "pending")
        await asyncio.to_thread(api.process.wait, 30)
    # Open requests have 3 s, and a stream that did not end would take all of them and be cut.
    assert time.monotonic() - began < 5
    assert "graceful shutdown exceeded" not in platform.log_of(api.process)
    assert api.process.returncode == 0


async def test_a_request_for_a_result_waits_for_the_end_of_its_task(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start(OFTEN_REQUEST_TIMEOUT="3")
    ann = await _caller(http)
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=0.1), owner=ann.id)
    path = f"/tasks/{task_id}/result"
    assert (await ann.get(path)).status_code == 409
    early = await ann.get(path, wait_s=4)  # longer than other requests may take
    assert (early.status_code, early.json()["status"], early.json()["result"]) == (200, "pending", None)
    assert (await ann.get(path, wait_s=61)).status_code == 400

    waiting = asyncio.create_task(ann.get(path, wait_s=60))
    await platform.start_worker()
    answer = await waiting
    row = await platform.task(task_id)
    assert (answer.json()["status"], answer.json()["result"]) == ("success", {"attempt": 1})
    late_s = platform.database.now() - row["completed_at"]
    assert late_s.total_seconds() < 3
