"""Tests the export of task lists in the web console: which tasks it contains for which user, in
which format, and how it ends.
"""

import csv
import html
import io
import json
import re
from typing import Any
from uuid import UUID

import pytest

from services.api.console import task_export
from services.api.identity.rights import Reader
from services.api.reads import ReadTooSlow
from services.api.tasks.ledger_view import LedgerView
from shared.ledger.task_filter import TaskFilter
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser

LATER = {"name": "system.health_check", "params": {}, "delay_s": 3600}
FAIL = """
    UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL, attempt = 1, started_at = now(),
        error_kind = 'bug', error_message = $2 WHERE id = $1
"""


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


async def _submit(person: Person, number: int) -> list[str]:
    """Submit some tasks. Returns their ids, newest first, as lists show them."""
    return [(await person.post("tasks", LATER)).json()["task_id"] for _ in range(number)][::-1]


async def test_a_list_leads_to_its_exports(browser: Browser, administrator: Person) -> None:
    ids = await _submit(administrator, 2)
    await administrator.delete(f"tasks/{ids[0]}")
    page = (await browser.get("/console/tasks?status=pending&since=1h")).text
    links = [html.unescape(each) for each in re.findall(r'href="(/console/tasks\.[^"]+)"', page)]
    assert [sorted(re.split("[?&]", link)) for link in links] == [
        [f"/console/tasks.{suffix}", "since=1h", "status=pending"] for suffix in ("csv", "jsonl")
    ]
    as_csv, as_lines = [await browser.get(link) for link in links]

    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="tasks-[\dTZ-]+\.csv"', as_csv.headers["content-disposition"])
    (row,) = csv.DictReader(as_csv.text.splitlines())
    assert (row["id"], row["task_name"], row["status"]) == (ids[1], "system.health_check", "pending")

    assert as_lines.headers["cache-control"] == "no-store"
    answered = (await administrator.get("tasks", status="pending")).json()["items"]
    assert [json.loads(line) for line in as_lines.text.splitlines()] == answered


async def test_an_export_reads_page_by_page_and_says_where_the_rest_is(
    browser: Browser, administrator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _submit(administrator, 5)
    monkeypatch.setattr(task_export, "PAGE", 2)
    whole = await browser.get("/console/tasks.csv")
    assert [row["id"] for row in csv.DictReader(whole.text.splitlines())] == ids

    monkeypatch.setattr(task_export, "MAX_TASKS", 3)
    *lines, end = map(json.loads, (await browser.get("/console/tasks.jsonl")).text.splitlines())
    assert [line["id"] for line in lines] == ids[:3]
    assert end["why"] == "an export has 3 tasks at most"
    rest = (await browser.get(end["rest"].removeprefix("http://localhost"))).text.splitlines()
    assert [json.loads(line)["id"] for line in rest] == ids[3:]

    last = (await browser.get("/console/tasks.csv")).text.splitlines()[-1]
    assert last.startswith("Not complete: an export has 3 tasks at most. The rest: http://localhost/")


async def test_a_search_that_takes_too_long_says_where_it_stopped(
    browser: Browser, administrator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _submit(administrator, 2)
    monkeypatch.setattr(task_export, "PAGE", 1)
    monkeypatch.setattr(task_export, "MAX_S", 0.0)
    first, end = map(json.loads, (await browser.get("/console/tasks.jsonl")).text.splitlines())
    assert (first["id"], end["complete"]) == (ids[0], False)
    assert "took longer" in end["why"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
async def test_a_later_page_that_takes_too_long_is_the_beginning_of_the_rest(
    browser: Browser, administrator: Person, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    ids = await _submit(administrator, 3)
    monkeypatch.setattr(task_export, "PAGE", 2)
    read = LedgerView.page

    async def first_page_only(ledger: LedgerView, reader: Reader, wanted: TaskFilter, **page: Any) -> Any:
        if page["cursor"] is not None:
            raise ReadTooSlow(5)
        return await read(ledger, reader, wanted, **page)

    with monkeypatch.context() as patched:
        patched.setattr(LedgerView, "page", first_page_only)
        answer = await browser.get(f"/console/tasks.{suffix}")
        lines = answer.text.splitlines()
        end = re.search(r"could not be read in time.*(/console/tasks\.[^\"}]+)", lines[-1])
        assert end is not None
        # The export of the rest has sent nothing yet, so it is refused.
        assert (await browser.get(end[1])).status_code == 504
    rest = (await browser.get(end[1])).text.splitlines()
    found = [task for line in lines[:-1] + rest for task in ids if task in line]
    assert list(dict.fromkeys(found)) == ids


async def test_no_cell_is_a_formula(browser: Browser, administrator: Person, database: Any) -> None:
    formulas = ["=CALL(1)", "+1", "-1", "@SUM(1)", " \t=1", "\uff1d1", "\tx"]
    texts = ["1 = 1", 'a "quoted",\r\n=line']
    for task, message in zip(await _submit(administrator, 9), formulas + texts, strict=True):
        await database.execute(FAIL, UUID(task), message)
    exported = io.StringIO((await browser.get("/console/tasks.csv")).text, newline="")
    shown = [row["error_message"] for row in csv.DictReader(exported)]
    assert shown == [*(f"'{formula}" for formula in formulas), *texts]


async def test_an_export_shows_what_its_reader_may_see(
    browser: Browser, administrator: Person, guest: Person, database: Any
) -> None:
    ours, theirs = [(await _submit(person, 1))[0] for person in (administrator, guest)]
    assert theirs in (await browser.get("/console/tasks.csv")).text
    await database.execute("UPDATE account SET role = 'user' WHERE id = $1", administrator.id)
    text = (await browser.get("/console/tasks.csv")).text
    assert (ours in text, theirs in text) == (True, False)
    assert (await Browser(browser.client).get("/console/tasks.csv")).status_code == 303


async def test_what_cannot_be_read_is_refused(browser: Browser) -> None:
    for query, said in (("status=lost", "status"), ("owner=nobody", "owner"), ("cursor=x", "cursor")):
        answer = await browser.get(f"/console/tasks.csv?{query}")
        assert (query, answer.status_code, said in answer.text) == (query, 400, True)
        assert answer.headers["content-type"].startswith("text/html")


async def test_too_many_exports_at_once_are_refused_and_each_gives_its_place_back(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_export, "MAX_EXPORTS", 0)
    refused = await browser.get("/console/tasks.csv")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    monkeypatch.setattr(task_export, "MAX_EXPORTS", 1)
    assert [(await browser.get("/console/tasks.csv")).status_code for _ in range(2)] == [200, 200]
