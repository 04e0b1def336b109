"""Tests of requests that stay open (event streams, and requests that wait for a result): how they
end, how many an account may have, and what happens while a client does not read or Redis is away.
"""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import httpx
import psutil

from local import ports
from shared.transport import events
from shared.transport.events import Changes, TaskChange
from tests.api_process import Api
from tests.cut import Cut
from tests.eventually import eventually
from tests.integration.api.live.conftest import LONG, Caller, register, sign_in, task_ids
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds


async def test_a_stream_ends_with_its_token_and_goes_on_with_the_next_one(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start(OFTEN_ACCESS_TOKEN_LIFE="5")
    ann = await register(http)
    (task_id,) = await platform.submit(WAIT, LONG, owner=ann.id)
    path = f"/tasks/{task_id}/events"
    async with ann.follow(path) as followed:
        state = await followed.until_event("state")
        assert "Renew" in (await followed.until_event("expired", 20))["detail"]
        await followed.until_end()
    assert followed.names == ["state", "expired"]
    assert (await ann.get(path)).status_code == 401

    renewed = Caller(http, ann.id, await sign_in(http))
    async with renewed.follow(path, followed.last_id) as next_one:
        assert await next_one.until_event("state") == state
        await http.delete(f"/tasks/{task_id}", headers=renewed.headers)
        await next_one.until_end()
    assert next_one.of("end")[-1]["status"] == "revoked"


async def test_an_account_has_a_bounded_number_of_streams(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann, bob = await register(http), await register(http, "bob")
    (task_id,) = await platform.submit(WAIT, LONG, owner=ann.id)
    async with AsyncExitStack() as stack:

        async def opened() -> httpx.Response:
            path = f"/tasks/{task_id}/events"
            return await stack.enter_async_context(http.stream("GET", path, headers=ann.headers))

        # The streams are opened concurrently, because each has to wait for Postgres before it
        # begins.
        answers = await asyncio.gather(*[opened() for _ in range(40)])
        assert sorted(answer.status_code for answer in answers) == [200] * 20 + [503] * 20
        refused = await ann.get("/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["type"] == "urn:often:problem:too-many-streams"
        async with bob.follow("/events") as bobs:
            await bobs.until_event("state")

    async def has_room() -> bool:
        async with http.stream("GET", "/events", headers=ann.headers) as answer:
            return answer.status_code == 200

    await eventually(has_room)


async def test_a_client_that_does_not_read_costs_little_and_gets_the_newest_states(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await register(http)
    async with _unread(api, ann) as slow, ann.follow("/events") as quick:
        async with asyncio.timeout(30):
            await slow.readuntil(b"event: state")
        await quick.until_event("state")
        before = psutil.Process(api.process.pid).memory_info().rss
        ids = [UUID(int=number) for number in range(300)]
        for revision in range(1, 201):
            await _publish(platform, ids, revision, ann.id)
        await quick.until(lambda f: f.of("change") and f.of("change")[-1]["tasks"][0]["revision"] == 200)
        grown = psutil.Process(api.process.pid).memory_info().rss - before
        # As JSON, all 60,000 changes of 700 bytes each would take 42 MB. The API must not keep them
        # for slow clients.
        assert grown < 16 * 2**20
        assert max(sent["overflow"] for sent in quick.of("change")) > 0
        assert max(len(sent["tasks"]) for sent in quick.of("change")) <= 200
        late = b""
        async with asyncio.timeout(30):
            while b'"revision":200,' not in late:
                late += await slow.read(2**16)
    # The slow client receives only the latest state of each task. Every state would be 40,000: 200
    # states of each of 200 tasks.
    assert late.count(b'"revision":') < 20_000


@asynccontextmanager
async def _unread(api: Api, caller: Caller) -> AsyncIterator[asyncio.StreamReader]:
    """Open the event stream of a list over a connection with tiny buffers, so that it fills up as
    if the client did not read.
    """
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", api.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4_096)
    request = (
        f"GET /api/v1/events HTTP/1.1\r\nHost: often\r\nAuthorization: {caller.headers['Authorization']}"
    )
    writer.write(f"{request}\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.close()


async def _publish(platform: Platform, ids: list[UUID], revision: int, owner: int) -> None:
    changes = [
        TaskChange(i, revision, "started", "sample.wait", "default", owner, 1, 9, "x" * 400) for i in ids
    ]
    await platform.queues.client.publish(platform.queues.events_channel, events.encode(Changes(changes)))


async def test_without_redis_streams_say_so_and_still_send_the_outcome(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    link = Cut(platform.redis_url)
    async with link.serving() as redis_url:
        await api.start(REDIS_URL=redis_url)
        ann = await register(http)
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
            await listed.until(lambda f: str(last) in task_ids(f))


async def test_a_stopping_process_ends_its_streams_without_waiting_for_them(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    metrics_port = ports.pick("metrics")["metrics"]
    await api.start(OFTEN_METRICS_PORT=str(metrics_port))
    ann = await register(http)
    (task_id,) = await platform.submit(WAIT, LONG, owner=ann.id)

    async def is_awaited() -> bool:
        return (await platform.metrics(metrics_port))["often_results_awaited[]"] == 1

    async with ann.follow(f"/tasks/{task_id}/events") as followed, ann.follow("/events") as listed:
        await followed.until_event("state")
        await listed.until_event("state")
        waiting = asyncio.create_task(ann.get(f"/tasks/{task_id}/result", wait_s=60))
        await eventually(is_awaited)
        retry = int(followed.text.partition("retry: ")[2].partition("\n")[0])
        assert 1_000 <= retry < 5_000
        began = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        for each in (followed, listed):
            await each.until_end()
            assert each.names[-1] == "bye"
        answer = await waiting
        assert (answer.status_code, answer.json()["status"]) == (200, "pending")
        await asyncio.to_thread(api.process.wait, 30)
    # The streams end as soon as the API stops. Otherwise uvicorn would cut them after the 3 s that
    # it gives open requests.
    assert time.monotonic() - began < 5
    assert "graceful shutdown exceeded" not in platform.log_of(api.process)
    assert api.process.returncode == 0


async def test_a_request_for_a_result_waits_for_the_end_of_its_task(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start(OFTEN_REQUEST_TIMEOUT="3")
    ann = await register(http)
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=0.1), owner=ann.id)
    path = f"/tasks/{task_id}/result"
    assert (await ann.get(path)).status_code == 409
    # This request may wait for longer than the time limit of all other requests.
    early = await ann.get(path, wait_s=4)
    assert (early.status_code, early.json()["status"], early.json()["result"]) == (200, "pending", None)
    assert (await ann.get(path, wait_s=61)).status_code == 400

    waiting = asyncio.create_task(ann.get(path, wait_s=60))
    await platform.start_worker()
    answer = await waiting
    row = await platform.task(task_id)
    assert (answer.json()["status"], answer.json()["result"]) == ("success", {"attempt": 1})
    late_s = platform.database.now() - row["completed_at"]
    assert late_s.total_seconds() < 3
