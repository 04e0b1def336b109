"""Tests two features of the web console: submitting the missed times of a schedule, and showing the
position of a waiting task in its queue.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser
from tests.integration.api.test_place import SENT
from tests.integration.api.test_schedules import make

PATH = "/console/schedules/sample.nightly/backfill"


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


async def test_missed_times_are_previewed_and_submitted_once(
    browser: Browser, administrator: Person, database: Any
) -> None:
    await make(administrator, enabled=False)
    assert PATH in (await browser.get("/console/schedules/sample.nightly")).text
    now = datetime.now(UTC)
    days = {"from": f"{now - timedelta(days=3):%Y-%m-%dT%H:%M}", "to": f"{now:%Y-%m-%dT%H:%M}"}
    preview = (await browser.get(f"{PATH}?from={days['from']}&to={days['to']}")).text
    assert "3 times in the span, 3 missing" in preview
    assert await database.fetchval("SELECT count(*) FROM task") == 0, "it only shows"

    token = await browser.token("/console/schedules", form="/console/schedules/")
    wrong = await browser.post(PATH, {"token": token, "from": days["to"], "to": days["from"]})
    assert "must be later than from" in wrong.text
    ancient = await browser.get(f"{PATH}?from=0001-01-01T00:00&to={days['to']}")
    assert "29 days" in ancient.text
    for number in (3, 0):
        answer = await browser.post(PATH, {"token": token, **days, "reason": "the scheduler was away"})
        assert answer.headers["location"] == "/console/schedules/sample.nightly"
        page = (await browser.get(answer.headers["location"])).text
        assert f"{number} missing times of sample.nightly submitted." in page
    assert await database.fetchval("SELECT count(*) FROM task") == 3


async def test_a_waiting_task_says_how_many_are_before_it(
    browser: Browser, administrator: Person, database: Any
) -> None:
    check = {"name": "system.health_check", "params": {}}
    tasks = [(await administrator.post("tasks", check)).json()["task_id"] for _ in range(2)]
    await database.execute(SENT)
    page = (await browser.get(f"/console/tasks/{tasks[1]}")).text
    assert "<dt>Before it</dt><dd>1</dd>" in page
    assert "no worker serves the queue default" in page
