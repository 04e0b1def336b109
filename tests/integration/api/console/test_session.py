"""Tests sessions of the web console: their cookie, where it is accepted, how long a session lasts,
and what ends it.
"""

from typing import Any

import pytest

from services.api.identity.cookie_sessions import _hash
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import FORM, Browser


@pytest.fixture
def browser(client: Client) -> Browser:
    return Browser(client)


async def test_a_page_leads_to_the_sign_in_and_back(browser: Browser, administrator: Person) -> None:
    asked = await browser.get("/console/tasks?status=failure&params.user_id=7")
    assert asked.status_code == 303
    form = await browser.get(asked.headers["location"])
    assert 'value="/console/tasks?status=failure&amp;params.user_id=7"' in form.text

    wrong = await browser.post("/console/login", {"email": administrator.email, "password": "wrong"})
    assert "often" not in browser.cookies
    assert "The address or the password is wrong." in wrong.text

    signed_in = await browser.sign_in(administrator, next="/console/tasks?status=failure")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/console/tasks?status=failure")
    assert (await browser.get("/console/tasks")).status_code == 200


async def test_the_sign_in_leads_to_no_other_site(browser: Browser, guest: Person) -> None:
    for target in ("https://evil.example/", "//evil.example", "/console\\@evil", "/api/v1"):
        signed_in = await browser.sign_in(guest, next=target)
        assert signed_in.headers["location"] == "/console"


async def test_the_cookie_is_opaque_and_stored_as_its_hash(
    client: Client, guest: Person, database: Any
) -> None:
    """Over HTTPS, the cookie is bound to the host. Over plain HTTP, signing in works only on the
    same machine.
    """
    browser = Browser(client)
    answer = await browser.sign_in(guest)
    assert answer.headers["set-cookie"].startswith("often=")
    token = browser.cookies["often"]
    stored = await database.fetchval("SELECT count(*) FROM refresh_token WHERE token_hash = $1", _hash(token))
    assert stored == 1

    client.base_url = client.base_url.copy_with(scheme="https")
    secure = await Browser(client).sign_in(guest)
    (cookie,) = [each for each in secure.headers.get_list("set-cookie") if "often" in each]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert cookie.startswith("__Host-often=")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts


async def test_over_plain_http_from_elsewhere_nobody_can_sign_in(client: Client, guest: Person) -> None:
    headers = {"Host": "often.example", **FORM, "Accept": "text/html"}
    login = {"email": guest.email, "password": guest.password}
    answer = await client.post("/console/login", data=login, headers=headers)
    assert answer.status_code == 403
    assert "FORWARDED_ALLOW_IPS" in answer.text
    assert "set-cookie" not in answer.headers


async def test_cookies_open_the_console_and_tokens_the_api(browser: Browser, administrator: Person) -> None:
    await browser.sign_in(administrator)
    cookie = {"Cookie": f"often={browser.cookies['often']}"}
    assert (await browser.client.get("/api/v1/tasks", headers=cookie)).status_code == 401
    renewal = {"refresh_token": browser.cookies["often"]}
    assert (await browser.client.post("/api/v1/auth/refresh", json=renewal)).status_code == 401
    bearer = {**administrator.headers, "Accept": "application/json"}
    assert (await browser.client.get("/console/tasks", headers=bearer)).status_code == 401
    refresh_token = Browser(browser.client, {"often": administrator.refresh_token})
    assert (await refresh_token.get("/console/tasks")).status_code == 303


async def test_a_fetch_without_a_session_is_refused(browser: Browser) -> None:
    """A script's request without a session must get an error. If it were redirected to the sign-in
    page, the script would use that page as the answer.
    """
    assert (await browser.get("/console/tasks", **{"X-Often-Part": "1"})).status_code == 401
    assert (await browser.get("/console/stream", Accept="text/event-stream")).status_code == 401


async def test_a_session_ends(browser: Browser, guest: Person, database: Any) -> None:
    for end in (
        "UPDATE session SET revoked_at = now()",
        "UPDATE session SET created_at = now() - interval '14 days'",
        "UPDATE refresh_token SET expires_at = now()",
        "UPDATE account SET is_active = false",
    ):
        await browser.sign_in(guest)
        assert (await browser.get("/console/tasks")).status_code == 200
        await database.execute(end)
        assert (end, (await browser.get("/console/tasks")).status_code) == (end, 303)


async def test_a_session_that_is_used_goes_on(browser: Browser, guest: Person, database: Any) -> None:
    """Each use of a session extends it. It must also survive a sign-in over the API, which deletes
    expired sessions.
    """
    await browser.sign_in(guest)
    await database.execute("UPDATE refresh_token SET expires_at = now() + interval '1 min'")
    await browser.get("/console/tasks")
    left = await database.fetchval(
        "SELECT extract(epoch FROM expires_at - now())::float8 / 3600 FROM refresh_token"
        " WHERE token_hash = $1",
        _hash(browser.cookies["often"]),
    )
    assert 11.9 < left <= 12
    await browser.client.post("/api/v1/auth/login", json={"email": guest.email, "password": guest.password})
    await database.execute("SELECT 1")
    assert (await browser.get("/console/tasks")).status_code == 200


async def test_signing_out_ends_this_session_only(browser: Browser, guest: Person) -> None:
    other = Browser(browser.client)
    await browser.sign_in(guest)
    await other.sign_in(guest)
    kept = browser.cookies["often"]
    token = await browser.token(form="/console/logout")
    left = await browser.post("/console/logout", {"token": token})
    assert (left.status_code, "often" in browser.cookies) == (303, False)
    browser.cookies["often"] = kept
    assert (await browser.get("/console/tasks")).status_code == 303
    assert (await other.get("/console/tasks")).status_code == 200
