"""Tests that the web console accepts forms only from its own pages, and that a refusal names the
missing proof of origin.
"""

from typing import Any

import pytest

from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import FORM, HOST, Browser

CANCEL = "/console/tasks/cancel"


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


@pytest.fixture
async def task(administrator: Person) -> str:
    new = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    task_id: str = (await administrator.post("tasks", new)).json()["task_id"]
    return task_id


async def test_a_form_of_ours_acts(browser: Browser, administrator: Person, task: str) -> None:
    form = {"token": await browser.token(), "id": task, "next": "/console/tasks?status=pending"}
    answer = await browser.post(CANCEL, form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/tasks?status=pending")
    page = await browser.get(answer.headers["location"])
    assert "1 task canceled." in page.text
    assert "1 task canceled." not in (await browser.get("/console/tasks")).text, "it is shown once"
    assert (await administrator.get(f"tasks/{task}")).json()["status"] == "revoked"


async def test_a_form_of_another_site_is_refused(browser: Browser, administrator: Person, task: str) -> None:
    token = await browser.token()
    for headers, lacks in (
        ({}, "Sec-Fetch-Site and Origin are both missing"),
        ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site is &#39;cross-site&#39;"),
        ({"Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site is &#39;same-site&#39;"),
        ({"Origin": "https://evil.example"}, "Origin is &#39;https://evil.example&#39;"),
        ({"Origin": "null"}, "Origin is &#39;null&#39;"),
    ):
        answer = await browser.post(CANCEL, {"token": token, "id": task}, headers)
        assert (headers, answer.status_code) == (headers, 403)
        assert lacks in answer.text
    assert (await administrator.get(f"tasks/{task}")).json()["status"] == "pending"
    answer = await browser.post(CANCEL, {"token": token, "id": task}, {"Origin": f"http://{HOST}"})
    assert answer.status_code == 303, "over plain HTTP browsers send no more than that"


async def test_a_form_without_its_token_is_refused(
    browser: Browser, administrator: Person, task: str
) -> None:
    for token in (None, "", "0" * 64, "é"):
        answer = await browser.post(CANCEL, {"id": task, **({} if token is None else {"token": token})})
        assert (token, answer.status_code) == (token, 403)
        assert "hidden field token" in answer.text
    assert (await administrator.get(f"tasks/{task}")).json()["status"] == "pending"


async def test_a_token_is_of_one_session_and_one_section(
    client: Client, browser: Browser, administrator: Person, task: str
) -> None:
    other = Browser(client)
    await other.sign_in(administrator)
    for token in (await other.token(), await browser.token(form="/console/preferences")):
        answer = await browser.post(CANCEL, {"token": token, "id": task})
        assert answer.status_code == 403
        assert "belongs to another session or form" in answer.text


async def test_the_sign_in_is_proven_by_the_header_alone(client: Client, guest: Person) -> None:
    login = {"email": guest.email, "password": guest.password}
    answer = await Browser(client).post("/console/login", login, {"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "Sec-Fetch-Site" in answer.text


async def test_without_a_session_a_form_leads_to_the_sign_in(client: Client, task: str) -> None:
    referer = {"Referer": f"http://{HOST}/console/tasks?status=pending"}
    answer = await Browser(client).post(CANCEL, {"id": task}, FORM | referer)
    assert answer.headers["location"] == "/console/login?next=/console/tasks%3Fstatus%3Dpending"


async def test_a_refused_act_is_said_on_the_page_that_it_came_from(browser: Browser, task: str) -> None:
    token = await browser.token()
    referer = {"Referer": f"http://{HOST}/console/tasks/{task}"}
    answer = await browser.post(f"/console/tasks/{task}/release", {"token": token}, FORM | referer)
    assert answer.headers["location"] == f"/console/tasks/{task}"
    assert "because it killed its workers" in (await browser.get(answer.headers["location"])).text


async def test_selected_tasks_are_acted_on_and_what_is_refused_is_said(
    browser: Browser, administrator: Person, task: str
) -> None:
    new = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    other = (await administrator.post("tasks", new)).json()["task_id"]
    await administrator.delete(f"tasks/{other}")
    form: dict[str, Any] = {"token": await browser.token(), "id": [task, other, "no id"]}
    await browser.post(CANCEL, form)
    page = (await browser.get("/console/tasks")).text
    assert "1 task canceled. 1 task not: The task has already ended as revoked." in page
    await browser.post("/console/tasks/retry", {"token": await browser.token(), "only": task, "id": other})
    statuses = [(await administrator.get(f"tasks/{each}")).json()["status"] for each in (task, other)]
    assert statuses[0] in ("pending", "retry", "started", "success")
    assert statuses[1] == "revoked"
