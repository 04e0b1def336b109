"""Tests the pages of the web console: what each role sees, which files a page may load, and that
text of tasks never becomes HTML.
"""

import asyncio
import gzip
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.api.audit.actions import Unaudited
from services.api.bulk.bulk_view import BulkView
from services.api.console import policy
from services.api.console.rights import RIGHTS
from services.api.console.static_files import StaticFiles
from services.api.identity.rights import Reach
from services.api.operations.workers import Workers
from services.api.schedules.schedule_view import ScheduleView
from shared.contracts import nesting
from shared.identity.tables import Role
from shared.ledger.ids import uuid7
from shared.ledger.protocol import PROTOCOL
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser

LATER = {"name": "system.health_check", "params": {}, "delay_s": 3600}
HOSTILE = "<img src=x onerror=alert(1)>\u202eRTL\u0007\x1b[31m"
FAIL = """
    UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL, attempt = 1, started_at = now(),
        error_kind = 'bug', error_message = $2, error_traceback = $3 WHERE id = $1
"""
TRACEBACK = """Traceback (most recent call last):
  File "/srv/.venv/lib/python3.11/site-packages/aiosmtplib/api.py", line 131, in send
    result = await client.sendmail(
  File "/srv/services/worker/tasks/email.py", line 61, in send
    <script>alert(2)</script>
SMTPRecipientsRefused: <b>no</b>
"""
SCHEDULE = """
    INSERT INTO schedule (name, task_name, params, kind, expression, owner)
    VALUES ($1, 'system.health_check', '{}', 'interval', '1 h', $2)
"""
ERROR = """
    INSERT INTO error_group (fingerprint, name, kind, message, first_at, last_at, first_release, last_release,
                             sample_task)
    VALUES ($1, 'system.health_check', 'bug', '<img src=x onerror=alert(3)>', now(), now(), '1', '1', $2)
"""
WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol)
    VALUES (gen_random_uuid(), '<img src=x onerror=alert(4)>', 1, '{nowhere}', 1, $1, $2) RETURNING id
"""
BULK = """
    INSERT INTO bulk_act (id, task, kind, action, filter, given, actor, reason, expected, exact, until,
                          cursor)
    VALUES ($1, $2, 'task', 'retry', '{}', '{"error": "<img src=x onerror=alert(5)>"}', $3, $4, 3, true, $1,
            $1)
"""
KEY = """
    INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at)
    VALUES ($1, '<img src=x onerror=alert(6)>', decode(md5(random()::text), 'hex'), '{tasks:read}',
            now() + interval '1 day') RETURNING id
"""
ACCOUNT = "INSERT INTO account (email, password_hash) VALUES ($1, '-') RETURNING id"
#: A page that contains forms of each section of the console, by the name of the section.
PAGES = {
    "preferences": "/console/preferences",
    "tasks": "/console/tasks",
    "bulk": "/console/bulk/{bulk_id}",
    "workflows": "/console/workflows/{workflow_id}",
    "errors": "/console/errors/{fingerprint}",
    "queues": "/console/queues",
    "workers": "/console/workers",
    "schedules": "/console/schedules",
    "accounts": "/console/accounts",
    "keys": "/console/keys",
}
#: Routes that answer with an event stream, which never ends.
STREAMS = {route for route in RIGHTS if route.endswith("/stream")}
LOGOUT = "POST /console/logout"


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


async def test_each_route_lets_in_whom_the_table_lets_in(
    browser: Browser, administrator: Person, database: Any
) -> None:
    """A page must show only forms that the role may use. All other forms must be refused."""
    found, expected = {}, {}
    for role in Role:
        await database.execute("UPDATE account SET role = 'administrator' WHERE id = $1", administrator.id)
        ids = await _things(administrator, database)
        await database.execute("UPDATE account SET role = $1 WHERE id = $2", role.value, administrator.id)
        tokens = {section: await _token(browser, page.format(**ids)) for section, page in PAGES.items()}
        for route, right in RIGHTS.items():
            if route == LOGOUT:
                continue
            method, path = route.split(" ")
            path = path.format(**ids)
            if route in STREAMS:
                answer = await browser.head(path)
            elif method == "GET":
                answer = await browser.get(path)
            else:
                form = {"token": tokens[path.split("/")[2]], "only": ids["task_id"]}
                answer = await browser.post(path, form)
            found[role, route] = answer.status_code != 403
            expected[role, route] = right.reach[role] is not Reach.NONE
            assert (route, answer.status_code < 500) == (route, True)
    assert found == expected


async def _things(person: Person, database: Any) -> dict[str, str]:
    """Create an example of everything that routes can name, such as a task. Returns the ids, by the
    name of the path parameter.
    """
    names = {"name": f"of_{secrets.token_hex(8)}", "fingerprint": f"v2:{secrets.token_hex(16)}"}
    steps = [{"step": "check", "task": "system.health_check", "params": {}, "delay_s": 3600}]
    flow = await person.post("workflows", {"name": "checks", "steps": steps})
    task = await person.post("tasks", LATER)
    await database.execute(SCHEDULE, names["name"], person.id)
    bulk_id = uuid7(datetime.now(UTC))
    await database.execute(BULK, bulk_id, UUID(task.json()["task_id"]), person.id, HOSTILE)
    await database.execute(ERROR, names["fingerprint"], UUID(task.json()["task_id"]))
    other = f"{secrets.token_hex(8)}@often.example"
    return names | {
        "task_id": task.json()["task_id"],
        "bulk_id": str(bulk_id),
        "workflow_id": flow.json()["workflow_id"],
        "queue": "default",
        "worker_id": str(await database.fetchval(WORKER, secrets.randbits(62), PROTOCOL)),
        "key_id": str(await database.fetchval(KEY, person.id)),
        "account_id": str(await database.fetchval(ACCOUNT, other)),
    }


async def _token(browser: Browser, page: str) -> str:
    """The token for the forms of a section, read from a page. If the page shows the reader no such
    form, an invalid token.
    """
    section = f"/console/{page.split('/')[2]}"
    page = "/console" if section == "/console/preferences" else page
    answer = await browser.get(page)
    has_form = answer.status_code == 200 and f'action="{section}' in answer.text
    return await browser.token(page, form=section) if has_form else "0" * 64


async def test_a_viewer_sees_no_button(browser: Browser, administrator: Person, database: Any) -> None:
    task = (await administrator.post("tasks", LATER)).json()["task_id"]
    await database.execute(FAIL, UUID(task), "no", None)
    ids = await _things(administrator, database)
    pages = ["/console", f"/console/tasks/{task}", *(page.format(**ids) for page in PAGES.values())]
    of_administrators = ("/console/preferences", "/console/accounts", "/console/keys")
    pages = [page for page in pages if page not in of_administrators]
    of_operators = [(await browser.get(page)).text for page in pages]
    assert all('method="post" action="/console/' in text for text in of_operators)
    await database.execute("UPDATE account SET role = 'viewer'")
    for page in pages:
        text = (await browser.get(page)).text
        posts = [part.partition('"')[0] for part in text.split('method="post" action="')[1:]]
        assert set(posts) - {"/console/tasks/retry"} == {"/console/preferences", "/console/logout"}
        assert "data-act" not in text
        assert "formaction" not in text


async def test_whatever_a_task_carries_stays_text(
    browser: Browser, administrator: Person, database: Any
) -> None:
    task = (await administrator.post("tasks", LATER)).json()["task_id"]
    await database.execute(FAIL, UUID(task), HOSTILE + "x" * 10_000, TRACEBACK)
    await database.execute(
        "UPDATE task SET params = jsonb_build_object('text', $2::text), progress_message = $2,"
        " result = jsonb_build_object($2::text, 1) WHERE id = $1",
        *(UUID(task), HOSTILE.replace("\x07", "").replace("\x1b", "")),
    )
    tabs = [f"/console/tasks/{task}?show={tab}" for tab in ("attempts", "params")]
    ids = await _things(administrator, database)
    others = ["/console/errors", f"/console/errors/{ids['fingerprint']}", "/console/workers"]
    others += ["/console/bulk", f"/console/bulk/{ids['bulk_id']}", "/console/keys"]
    for path in ("/console/tasks", *tabs, *others):
        text = (await browser.get(path)).text
        assert "&lt;img src=x onerror" in text
        assert "<img src=x" not in text
        assert "<script>" not in text
    found = (await browser.get(f"/console/tasks/{task}")).text
    assert "services/worker/tasks/email.py:61" in found
    assert "1 frame of the platform and of libraries" in found


async def test_open_overviews_share_one_read_of_what_they_show(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages are read together, so that they share each read however long it takes."""
    reads: list[str] = []

    def noted(kind: type, name: str) -> None:
        read = getattr(kind, name)

        async def noting(*arguments: Any, **named: Any) -> Any:
            reads.append(f"{kind.__name__}.{name}")
            return await read(*arguments, **named)

        monkeypatch.setattr(kind, name, noting)

    noted(Workers, "page")
    noted(ScheduleView, "next_firings")
    noted(BulkView, "page")
    pages = await asyncio.gather(*(browser.get("/console") for _ in range(5)))
    assert {page.status_code for page in pages} == {200}
    assert sorted(reads) == ["BulkView.page", "ScheduleView.next_firings", "Workers.page"]


async def test_pages_load_nothing_but_their_own_files(browser: Browser) -> None:
    page = await browser.get("/console/tasks")
    given = {name: page.headers[name] for name in policy.HEADERS}
    assert given == policy.HEADERS
    for unsafe in ("style=", "<style", "onclick", "javascript:", "http://", "https://", "<script>"):
        assert unsafe not in page.text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    loaded = [name for name in StaticFiles().by_name if not name.endswith(".svg")]
    weight = len(gzip.compress(page.content))
    for name in loaded:
        path = f"/console/static/{StaticFiles().digest}/{name}"
        file = await browser.get(path, **{"Accept-Encoding": "gzip"})
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]
        weight += int(file.headers["content-length"])
    assert weight < 60_000
    assert (await browser.get("/console/static/0123/console.css")).status_code == 404


async def test_no_address_and_no_form_ends_in_an_error_of_the_server(
    browser: Browser, administrator: Person, database: Any
) -> None:
    ids = await _things(administrator, database)
    flow = ids["workflow_id"]
    for path in ("workflows?status=running", "workflows?name=checks", "workflows?status=running&name=checks"):
        assert flow in (await browser.get(f"/console/{path}")).text, path
    assert flow not in (await browser.get("/console/workflows?status=failure")).text
    for path in ("workflows?name=%00", "audit?action=%00", f"bulk/new?action=cancel&owner={'9' * 5000}"):
        assert (await browser.get(f"/console/{path}")).status_code < 500, path
    token = await browser.token("/console/queues", form="/console/queues")
    for reason in ("\x00", "a\nb", "x" * 501):
        refused = await browser.post("/console/queues/default/pause", {"token": token, "reason": reason})
        assert (refused.status_code < 500, "paused" in refused.headers.get("location", "")) == (True, False)
    paused = "SELECT count(*) FROM queue_control WHERE queue = 'default' AND paused_at IS NOT NULL"
    assert await database.fetchval(paused) == 0
    foreign = await browser.post(
        "/console/queues/default/pause", {"token": token, "reason": "x"}, {"Origin": "http://["}
    )
    assert foreign.status_code == 403


async def test_the_address_is_the_state(browser: Browser, administrator: Person) -> None:
    new = {"name": "sample.greet", "params": {"user_id": administrator.id, "text": "Hi"}, "delay_s": 3600}
    task = (await administrator.post("tasks", new)).json()["task_id"]
    form = await browser.get("/console/tasks?name=&queue=&params=text%3DHi&status=pending")
    assert form.headers["location"] == "/console/tasks?status=pending&params.text=Hi"
    assert task in (await browser.get(form.headers["location"])).text
    none = (await browser.get("/console/tasks?status=pending&params.text=Bye")).text
    assert task not in none
    assert "No task matches" in none
    wrong = await browser.get("/console/tasks?status=lost&owner=nobody")
    assert (wrong.status_code, "owner must be the id of an account" in wrong.text) == (200, True)
    for path in (f"/console/tasks/{UUID(int=7)}", "/console/nowhere"):
        nowhere = await browser.get(path)
        assert (path, nowhere.status_code, "Overview" in nowhere.text) == (path, 404, True)


async def test_a_task_is_submitted_once_however_often_the_form_is_sent(
    browser: Browser, administrator: Person
) -> None:
    path = "/console/tasks/new"
    form = {"token": await browser.token(f"{path}?name=sample.greet"), "name": "sample.greet", "key": "one"}
    wrong = await browser.post(path, {**form, "p.user_id": "many"})
    assert "must be a number" in wrong.text
    answers = [await browser.post(path, {**form, "p.user_id": str(administrator.id)}) for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    page = (await browser.get(answers[0].headers["location"])).text
    assert "sample.greet is accepted." in page


@pytest.mark.hotel
async def test_json_that_is_nested_too_deeply_is_said_beside_its_field(
    browser: Browser, administrator: Person, database: Any
) -> None:
    new = "/console/tasks/new?name=notifications.send_push"
    body = {"user_id": administrator.id, "title": "Hi", "message": "there"}
    submit = {"token": await browser.token(new), "name": "notifications.send_push", "as": "json"}
    task = (await administrator.post("tasks", {"name": submit["name"], "params": body})).json()["task_id"]
    await database.execute(FAIL, UUID(task), "no", None)
    for depth in (nesting.MAX_DEPTH, 900, 5_000):
        deep = f'{{"data": {"[" * depth}{"]" * depth}}}'
        for path, form in (
            ("/console/tasks/new", submit | {"params": deep}),
            ("/console/tasks/new", submit | {"as": "fields", "p.data": deep}),
            ("/console/tasks/new", submit | {"as": "fields", "priority": deep}),
            (f"/console/tasks/{task}/edit", {"token": submit["token"], "params": deep}),
        ):
            answer = await browser.post(path, form)
            assert (depth, path, answer.status_code) == (depth, path, 200)
            assert nesting.RULE in answer.text or "must be a number" in answer.text
    assert (await browser.get(f"/console/tasks?params.a={'[' * 200}")).status_code == 200


def test_each_form_of_the_console_says_what_it_leaves_in_the_audit_log() -> None:
    for route, right in RIGHTS.items():
        assert route.startswith("GET") or right.leaves or isinstance(right.leaves, Unaudited)
        assert right.scope is None, "no API key opens the console"
