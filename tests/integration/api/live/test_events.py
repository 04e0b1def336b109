"""Tests of what event streams send over real connections, what each reader may see, and that a
client that reconnects misses nothing.

test_open_requests.py tests how streams end, and what they cost.
"""

import random
import time
from typing import Any
from uuid import UUID

import httpx

from shared.workflows.shapes import chain
from shared.workflows.workflow import Workflow
from tests.api_process import Api
from tests.event_stream import Followed
from tests.integration.api.live.conftest import LONG, register, task_ids
from tests.integration.workflows.plays import submit
from tests.platform import Platform
from tests.sample_tasks import INSTANT, PAY, STEPS, WAIT, Nothing, Pay, Steps


def _lines(followed: Followed) -> list[str]:
    return [line["message"] for sent in followed.of("lines") for line in sent["lines"]]


async def test_a_task_is_followed_from_its_state_to_its_end(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann = await register(http)
    (task_id,) = await platform.submit(PAY, Pay(card="4000 1234 5678 9010"), owner=ann.id)
    async with ann.follow(f"/tasks/{task_id}/events?logs=info") as followed:
        state = await followed.until_event("state")
        # The second attempt waits in Postgres, so it needs a scheduler that sends it.
        await platform.start_scheduler()
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
    assert len(_lines(followed)) == 2  # each of the two attempts logs one line
    # Events contain neither parameters nor results. Their other fields contain no sensitive value.
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
    ann, bob = await register(http), await register(http, "bob")
    flow = Workflow("two", owner=ann.id)
    chain(flow.step(INSTANT, Nothing(), name="one"), flow.group(INSTANT, [Nothing()] * 3, name="many"))
    workflow = await submit(platform, flow)
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
    ann = await register(http)
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
    ann = await register(http)
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

    # This stream has one purpose: while any stream is open, the API stays subscribed to changes.
    async with ann.follow("/events") as first:
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


async def test_streams_show_only_what_their_reader_may_see_while_the_right_lasts(
    api: Api, http: httpx.AsyncClient, platform: Platform
) -> None:
    await api.start()
    ann, bob = await register(http), await register(http, "bob")
    await platform.rows("UPDATE account SET role = 'administrator' WHERE id = {}", bob.id)
    (of_bob,) = await platform.submit(WAIT, LONG, owner=bob.id)
    assert (await ann.get(f"/tasks/{of_bob}/events")).status_code == 404

    async with (
        ann.follow("/events") as own,
        ann.follow(f"/events?owner={bob.id}") as others,
        bob.follow("/events") as everything,
        bob.follow(f"/tasks/{of_bob}/events") as bobs,
    ):
        for followed in (own, others, everything, bobs):
            await followed.until_event("state")
        (of_ann,) = await platform.submit(WAIT, LONG, owner=ann.id)
        (of_nobody,) = await platform.submit(WAIT, LONG)
        await platform.submit(WAIT, LONG, owner=bob.id)
        await everything.until(lambda f: len(task_ids(f)) == 3)
        await own.until(task_ids)
        assert task_ids(own) == {str(of_ann)}
        # The API itself makes these changes, without a worker. The stream of a list does not read
        # rows from Postgres, so it shows the changes only if the API publishes them.
        await http.delete(f"/tasks/{of_ann}", headers=ann.headers)
        await own.until(lambda f: "revoked" in _statuses(f, of_ann))
        await http.post(f"/tasks/{of_ann}/retry", headers=bob.headers)
        await own.until(lambda f: _statuses(f, of_ann)[-1] == "pending")
        assert task_ids(others) == set()
        assert {str(of_ann), str(of_nobody)} < task_ids(everything)

        began = time.monotonic()
        change = {"is_active": False}
        answer = await http.patch(f"/accounts/{ann.id}", json=change, headers=bob.headers)
        assert answer.status_code == 200
        for followed in (own, others):
            assert "Sign in" in (await followed.until_event("expired"))["detail"]
            await followed.until_end()
        # The stream must end because the reader lost the right, and not because of the regular
        # check of all readers, which runs only every 15 s.
        assert time.monotonic() - began < 5
        assert not bobs.has_ended
        assert not everything.has_ended


def _statuses(followed: Followed, task_id: UUID) -> list[str]:
    tasks = [task for change in followed.of("change") for task in change["tasks"]]
    return [task["status"] for task in tasks if task["task_id"] == str(task_id)]
