"""Tests a bulk operation in the web console: from a filtered list of tasks over the preview to the
page that shows the progress.
"""

import html
import re
from typing import Any
from uuid import UUID

import pytest

from tests.eventually import eventually
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser

LATER = {"name": "system.health_check", "params": {}, "delay_s": 3600}
HIDDEN = re.compile(r'<input type="hidden" name="(\w[\w.]*)" value="([^"]*)">')
FILTER = "status=pending&name=system.health_check&since=1h"


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


def form_in(page: str) -> dict[str, Any]:
    """The hidden fields of the form by which the bulk operation is started."""
    part = page.partition('method="post" action="/console/bulk/new"')[2].partition("</form>")[0]
    fields: dict[str, Any] = {}
    for name, value in HIDDEN.findall(part):
        fields.setdefault(name, []).append(value)
    return fields


async def test_all_that_match_are_previewed_started_and_stopped(
    browser: Browser, administrator: Person, database: Any
) -> None:
    tasks = [(await administrator.post("tasks", LATER)).json()["task_id"] for _ in range(3)]
    listed = (await browser.get(f"/console/tasks?{FILTER}")).text
    found = re.search(r'href="(/console/bulk/new\?[^"]*action=cancel)"', listed)
    assert found is not None
    link = html.unescape(found[1])
    assert "/console/bulk/new" not in (await browser.get("/console/tasks")).text, "an empty filter has none"

    preview = (await browser.get(link)).text
    assert "Tasks that are waiting, named system.health_check, created since " in preview
    assert "3 tasks match" in preview
    assert all(task in preview for task in tasks)
    started = await browser.post("/console/bulk/new", {**form_in(preview), "rate": "1", "reason": "a test"})
    path = started.headers["location"]
    page = (await browser.get(path)).text
    assert ("Cancel 3 tasks" in page, "0 of 3" in page, "1 a second" in page) == (True, True, True)
    assert path in (await browser.get("/console/bulk")).text
    assert path in (await browser.get("/console")).text, "the overview shows bulk operations that are running"

    again = await browser.post("/console/bulk/new", form_in(preview))
    assert again.headers["location"] == path, "one preview starts one bulk operation"

    await database.execute("UPDATE bulk_act SET done = 1, skipped = 1")
    assert "66 %" in (await browser.get(path)).text
    token = await browser.token(path, form=f"{path}/stop")
    await browser.post(f"{path}/stop", {"token": token})
    assert "The bulk operation stops within a second. What it has done stays." in (
        page := (await browser.get(path)).text
    )
    assert "data-every" not in page

    async def is_gone() -> bool:
        return path not in (await browser.get("/console")).text

    await eventually(is_gone, 10)
    statuses = await database.fetch("SELECT status FROM task WHERE id = ANY($1)", [UUID(id) for id in tasks])
    assert {row["status"] for row in statuses} == {"pending"}, "no worker has begun it"


async def test_what_is_refused_leads_to_a_new_preview(
    browser: Browser, administrator: Person, database: Any
) -> None:
    page = (await browser.get("/console/bulk/new?action=cancel")).text
    assert "an operation on everything is refused" in page
    assert form_in(page) == {}
    await administrator.post("tasks", LATER)
    form = form_in((await browser.get(f"/console/bulk/new?{FILTER}&action=cancel")).text)
    for wrong, said in (
        ({"rate": "many"}, "rate must be"),
        ({"name": "system.other"}, "The preview has expired or belongs to another operation"),
        ({"expected": "7"}, "What matches has changed"),
    ):
        answer = await browser.post("/console/bulk/new", {**form, **wrong})
        assert (wrong, answer.status_code, said in answer.text) == (wrong, 200, True)
    assert await database.fetchval("SELECT count(*) FROM bulk_act") == 0


async def test_a_user_cancels_their_own_only(browser: Browser, administrator: Person, database: Any) -> None:
    await administrator.post("tasks", LATER)
    await database.execute("UPDATE account SET role = 'user'")
    listed = (await browser.get(f"/console/tasks?{FILTER}")).text
    assert "action=cancel" in listed
    assert "action=retry" not in listed
    preview = (await browser.get(f"/console/bulk/new?{FILTER}&action=cancel")).text
    assert "1 task matches" in preview
    started = await browser.post("/console/bulk/new", form_in(preview))
    assert started.headers["location"] in (await browser.get("/console")).text
    other = (await browser.get(f"/console/bulk/new?{FILTER}&owner=7&action=cancel")).text
    assert "must be your own id" in other
    refused = await browser.get(f"/console/bulk/new?{FILTER}&action=retry")
    assert refused.status_code == 403
