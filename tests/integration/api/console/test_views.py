"""Tests saved views of the task list in the web console. A view is a named filter, which is stored
in a cookie, separately for each account.
"""

import re

import pytest

from services.api.console import views
from tests.integration.api.conftest import Client, Person, SignUp
from tests.integration.api.console.browser import Browser

LIST, PATH = "/console/tasks", "/console/tasks/views"
FILTER = "status=failure&name=email.send_welcome&params.user_id=7"


@pytest.fixture
async def browser(client: Client, guest: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(guest)
    return browser


async def _save(browser: Browser, name: str, query: str = FILTER) -> str:
    """Save a filter as a view. Returns the text of the page that is shown next."""
    page = f"{LIST}?{query}"
    answer = await browser.post(PATH, {"token": await browser.token(), "name": name, "next": page})
    assert answer.headers["location"] == page
    return str((await browser.get(page)).text)


async def _listed(browser: Browser) -> list[tuple[str, str]]:
    text = (await browser.get(LIST)).text
    return re.findall(r'href="/console/tasks\?([^"]+)"(?: aria-current="true")?><bdi>([^<]+)</bdi>', text)


async def test_a_view_is_saved_shown_and_removed(browser: Browser) -> None:
    page = await _save(browser, "Mails of 7 & <b>", f"{FILTER}&cursor=AAAA")
    assert "is saved in this browser" in page
    expected = (FILTER.replace("&", "&amp;"), "Mails of 7 &amp; &lt;b&gt;")
    assert await _listed(browser) == [expected]
    assert 'aria-current="true"><bdi>Mails' in (await browser.get(f"{LIST}?{FILTER}")).text

    await _save(browser, "Running", "status=started")
    await _save(browser, "Mails of 7 & <b>", "status=failure")
    names = [(query, name.partition(" ")[0]) for query, name in await _listed(browser)]
    assert names == [("status=started", "Running"), ("status=failure", "Mails")]

    form = {"token": await browser.token(), "name": "Running", "next": LIST}
    await browser.post(f"{PATH}/remove", form)
    assert [query for query, _ in await _listed(browser)] == ["status=failure"]
    await browser.post(f"{PATH}/remove", form | {"name": "Mails of 7 & <b>"})
    assert await _listed(browser) == []
    assert not any(name.startswith("often-views") for name in browser.cookies)


async def test_what_cannot_be_saved_is_said(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs a name of 1 to 40 characters" in await _save(browser, " ")
    assert "needs a name of 1 to 40 characters" in await _save(browser, "x" * 41)
    answer = await browser.post(PATH, {"token": await browser.token(), "name": "all", "next": LIST})
    assert "A view needs a filter" in (await browser.get(answer.headers["location"])).text
    monkeypatch.setattr(views, "MAX_BYTES", 100)
    assert "no room for one more view" in await _save(browser, "x" * 40)
    assert await _listed(browser) == []


async def test_accounts_that_share_a_browser_have_views_of_their_own(
    browser: Browser, sign_up: SignUp
) -> None:
    await _save(browser, "mine")
    await browser.sign_in(await sign_up())
    assert await _listed(browser) == []


async def test_a_cookie_that_is_no_list_of_views_is_ignored(browser: Browser, guest: Person) -> None:
    for text in ("!", "AAAA", "W1tbW1tb", "bnVsbA", "W1siYSJdXQ", "x" * 3_000):
        browser.cookies[f"often-views-{guest.id}"] = text
        assert (text[:9], (await browser.get(LIST)).status_code) == (text[:9], 200)
        assert await _listed(browser) == []
