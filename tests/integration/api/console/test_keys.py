"""Tests API keys in the web console: a new key is shown only once, and an administrator can revoke
the keys of any account.
"""

import html
import re
from typing import Any

import pytest

from services.api.identity.api_keys import PREFIX
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser

PATH = "/console/keys"
SHOWN = re.compile(r'<pre class="secret" tabindex="0">([^<]+)</pre>')


@pytest.fixture
async def browser(client: Client, administrator: Person) -> Browser:
    browser = Browser(client)
    await browser.sign_in(administrator)
    return browser


async def _make(browser: Browser, **changes: Any) -> Any:
    form: dict[str, Any] = {"token": await browser.token(PATH, form=PATH), "name": "nightly <import>"}
    form |= {"scopes": ["tasks:read", "tasks:write"], "expires_in_days": "30"}
    return await browser.post(PATH, form | changes)


async def _state(browser: Browser, key: str) -> int:
    answer = await browser.client.get("/api/v1/tasks", headers={"Authorization": f"Bearer {key}"})
    return int(answer.status_code)


async def test_a_new_key_is_shown_once_and_works(
    browser: Browser, administrator: Person, database: Any
) -> None:
    page = await _make(browser)
    found = SHOWN.search(page.text)
    assert found is not None, page.text
    assert page.headers["cache-control"] == "no-store"
    assert await _state(browser, found[1]) == 200

    listed = await browser.get(PATH)
    assert "nightly &lt;import&gt;" in listed.text
    assert "tasks:read, tasks:write" in listed.text
    secret = found[1].removeprefix(PREFIX).partition("_")[2]
    assert len(secret) == 43
    assert secret not in listed.text
    (key,) = (await administrator.get("keys")).json()["items"]
    assert (key["owner"], key["scopes"]) == (administrator.id, ["tasks:read", "tasks:write"])
    acts = await database.fetch("SELECT action, target FROM audit WHERE target_kind = 'key'")
    assert [tuple(act) for act in acts] == [("key.made", key["id"])]


async def test_what_a_form_breaks_is_said_beside_its_fields(browser: Browser, database: Any) -> None:
    for wrong, said in (
        ({"name": " "}, "must have 1 to 100 characters"),
        ({"name": "\x00"}, "must not contain the NUL character"),
        ({"scopes": []}, "choose at least one of them"),
        ({"scopes": ["everything"]}, "choose at least one of them"),
        ({"expires_in_days": "367"}, "must be a whole number from 1 to 366"),
        ({"expires_in_days": "9" * 5000}, "must be a whole number from 1 to 366"),
        ({"expires_in_days": "soon"}, "must be a whole number from 1 to 366"),
    ):
        page = await _make(browser, **wrong)
        assert (wrong, page.status_code, f">{said}</p>" in page.text) == (wrong, 200, True)
        assert 'value="tasks:read" checked' in page.text or "scopes" in wrong, "what was given is kept"
    assert await database.fetchval("SELECT count(*) FROM api_key") == 0


async def test_a_key_of_another_account_is_revoked(
    browser: Browser, administrator: Person, guest: Person, database: Any
) -> None:
    made = (await guest.post("keys", {"name": "nightly", "scopes": ["tasks:read"]})).json()
    accounts = (await browser.get(f"/console/accounts?email={guest.email}")).text
    assert f'href="{PATH}?owner={guest.id}"' in accounts
    page = f"{PATH}?owner={guest.id}"
    listed = (await browser.get(page)).text
    assert (guest.email in listed, "nightly" in listed, "Make a key" in listed) == (True, True, False)
    assert "nightly" not in (await browser.get(PATH)).text, "the page begins with the caller's own keys"

    token = await browser.token(page, form=f"{PATH}/{made['id']}")
    assert await _state(browser, made["key"]) == 200
    revoked = await browser.post(f"{PATH}/{made['id']}/revoke", {"token": token, "next": page})
    assert html.unescape(revoked.headers["location"]) == page
    assert await _state(browser, made["key"]) == 401
    after = (await browser.get(page)).text
    assert "The key is refused from now on." in after
    assert f'action="{PATH}/{made["id"]}' not in after
    acts = await database.fetch("SELECT action, actor FROM audit WHERE action = 'key.revoked'")
    assert [tuple(act) for act in acts] == [("key.revoked", administrator.id)]


async def test_all_keys_of_an_account_are_revoked(browser: Browser, guest: Person) -> None:
    keys = [
        (await guest.post("keys", {"name": name, "scopes": ["tasks:read"]})).json()["key"]
        for name in ("one", "two")
    ]
    page = f"{PATH}?owner={guest.id}"
    token = await browser.token(page, form=f"{PATH}/revoke")
    await browser.post(f"{PATH}/revoke", {"token": token, "owner": str(guest.id), "next": page})
    assert f"2 keys of {guest.email} revoked." in (await browser.get(page)).text
    assert [await _state(browser, key) for key in keys] == [401, 401]


async def test_an_account_that_does_not_exist_has_no_keys(browser: Browser) -> None:
    for owner in ("0", "7000000", "nobody", "9" * 5000):
        answer = await browser.get(f"{PATH}?owner={owner}")
        assert (owner, answer.status_code) == (owner, 404)
