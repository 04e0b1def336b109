"""Tests the page of one task in the web console."""

from typing import Any
from uuid import UUID

import pytest

from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.schemas import TaskPage
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser
from tests.integration.api.serving import serving

LATER = {"name": "system.health_check", "params": {}, "delay_s": 3600}
FAIL = """
    UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL, attempt = 1, started_at = now(),
        error_kind = 'bug', error_message = $2, error_traceback = $3 WHERE id = $1
"""


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


async def test_related_tasks_that_were_not_searched_to_the_end_are_not_denied(
    browser: Browser, administrator: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = [(await administrator.post("tasks", LATER)).json()["task_id"] for _ in range(2)]
    page, link = f"/console/tasks/{parent}?show=related", f'href="/console/tasks?parent={parent}"'
    text = (await browser.get(page)).text
    assert ("Nothing related" in text, link in text) == (True, False)

    read = LedgerView.page

    async def cut_off(ledger: LedgerView, *arguments: Any, **wanted: Any) -> TaskPage:
        found = await read(ledger, *arguments, **wanted)
        return TaskPage(found.items, "later", complete=False)

    monkeypatch.setattr(LedgerView, "page", cut_off)
    text = (await browser.get(page)).text
    assert ("Nothing related" in text, link in text) == (False, True)
    assert "Children may exist: the search for them ran out of time." in text
    await database.execute("UPDATE task SET parent = $1 WHERE id = $2", UUID(parent), UUID(child))
    text = (await browser.get(page)).text
    assert (f'href="/console/tasks/{child}"' in text, link in text) == (True, True)
    assert "More children may exist" in text


async def test_a_failure_is_edited_and_runs_again(
    browser: Browser, administrator: Person, database: Any
) -> None:
    new = {"name": "sample.greet", "params": {"user_id": administrator.id, "text": "Hi"}, "delay_s": 3600}
    task = (await administrator.post("tasks", new)).json()["task_id"]
    await database.execute(FAIL, UUID(task), "no", None)
    path = f"/console/tasks/{task}/edit"
    form = {"token": await browser.token(path, form=path), "queue": "greetings", "priority": "5"}

    wrong = await browser.post(path, {**form, "params": '{"user_id": "x"}', "delay_s": "soon"})
    assert "must be a number" in wrong.text
    broken = await browser.post(path, {**form, "params": '{"user_id": "x"}'})
    assert "user_id" in broken.text
    assert 'aria-invalid="true"' in broken.text

    params = f'{{"user_id": {administrator.id}, "text": "Bye"}}'
    shown = await browser.post(path, {**form, "params": params, "delay_s": "3600"})
    assert '<span class="added">+     &#34;text&#34;: &#34;Bye&#34;' in shown.text
    assert (await administrator.get(f"tasks/{task}")).json()["status"] == "failure", "it only shows"
    done = await browser.post(path, {**form, "params": params, "delay_s": "3600", "apply": "1"})
    assert done.headers["location"] == f"/console/tasks/{task}"
    again = (await administrator.get(f"tasks/{task}")).json()
    assert (again["status"], again["params"]["text"]) == ("pending", "Bye")


@pytest.mark.hotel
async def test_hidden_fields_are_shown_for_the_password_and_it_is_recorded(
    browser: Browser, administrator: Person, guest: Person, database: Any
) -> None:
    params = {"amount": "1.00", "currency": "INR", "payment_method": "pm_card_visa", "user_id": guest.id}
    body = {"name": "payments.process", "params": params, "delay_s": 3600}
    headers = {**guest.headers, "Idempotency-Key": "one"}
    task = (await browser.client.post("/api/v1/tasks", json=body, headers=headers)).json()["task_id"]
    page = f"/console/tasks/{task}?show=params"
    assert "[hidden]" in (await browser.get(page)).text
    assert "pm_card_visa" not in (await browser.get(page)).text
    token = await browser.token(page, form=f"/console/tasks/{task}/unmask")
    await database.execute("TRUNCATE audit")
    path = f"/console/tasks/{task}/unmask"
    wrong = await browser.post(path, {"token": token, "password": "wrong"})
    assert (wrong.status_code, "pm_card_visa" in wrong.text) == (400, False)
    shown = await browser.post(path, {"token": token, "password": administrator.password})
    assert "pm_card_visa" in shown.text
    assert shown.headers["cache-control"] == "no-store"
    acts = [row["action"] for row in await database.fetch("SELECT action FROM audit ORDER BY id")]
    assert acts == ["sign_in.failed", "secret.unmasked"]


async def test_a_deep_document_is_shown_in_part(
    browser: Browser, administrator: Person, database: Any
) -> None:
    """Earlier releases may have stored such deeply nested documents, so the page must be able to
    show them.
    """
    task = (await administrator.post("tasks", LATER)).json()["task_id"]
    deep = f"{'[' * 300}{']' * 300}"
    await database.execute("UPDATE task SET params = $2 WHERE id = $1", UUID(task), f'{{"a": {deep}}}')
    page = await browser.get(f"/console/tasks/{task}?show=params")
    assert (page.status_code, "and what is deeper: see the JSON" in page.text) == (200, True)
    assert (await browser.get(f"/console/tasks/{task}?show=params&as=json")).status_code == 200


@pytest.mark.parametrize("table", ["task", "workflow"])
async def test_what_is_traced_leads_to_its_trace(
    administrator: Person, database: Any, settings: Settings, table: str
) -> None:
    if table == "task":
        made = (await administrator.post("tasks", LATER)).json()["task_id"]
    else:
        steps = [{"step": "check", "task": "system.health_check", "params": {}}]
        made = (await administrator.post("workflows", {"name": "checks", "steps": steps})).json()[
            "workflow_id"
        ]
    page, trace_id = f"/console/{table}s/{made}", f"{0xA:032x}"
    async with serving(settings)(trace_url="https://traces.example/t/{trace_id}?from=often") as client:
        browser = Browser(client)
        await browser.sign_in(administrator)
        assert "traces.example" not in (await browser.get(page)).text
        context = f"link 00-{0xC:032x}-{0xD:016x}-01 00-{trace_id}-{0xB:016x}-01"
        await database.execute(f"UPDATE {table} SET trace_context = $2 WHERE id = $1", UUID(made), context)
        assert f'href="https://traces.example/t/{trace_id}?from=often"' in (await browser.get(page)).text
    async with serving(settings)() as client:
        browser = Browser(client)
        await browser.sign_in(administrator)
        assert f">{trace_id}<" in (await browser.get(page)).text
