"""Tests the web console in a real browser, as operators would use it, with the whole system that
`make run` starts.

It is a single test, so that the system is started only once for all walkthroughs. Each walkthrough
uses a browser tab of its own.
"""

import asyncio
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.console.site import SCAN, Site, chromium, findings, overflow
from tests.e2e.local_system import LocalSystem

#: The system that `make run` starts includes the hotel application, so this test needs it.
pytestmark = pytest.mark.hotel

HOSTILE = "<img src=x onerror=console.log('run')>"


@pytest.fixture
def site() -> Iterator[Site]:
    path = chromium()
    with tempfile.TemporaryDirectory(prefix="often-e2e-") as name, sync_playwright() as playwright:
        Path(name).chmod(0o755)  # the account that runs PostgreSQL must be able to enter this folder
        system = LocalSystem(Path(name))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            site = Site(_started(system), browser)
            yield site
            site.close()
        finally:
            browser.close()
            system.close()


def _started(system: LocalSystem) -> dict[str, Any]:
    """Start the system from another thread, because Playwright runs an event loop in this
    thread.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(system.start())).result()


@pytest.mark.long
def test_operators_walk_through_the_console(site: Site) -> None:
    for walk in WALKS:
        walk(site)
        assert (walk.__name__, site.complaints) == (walk.__name__, [])


def a_long_task_is_watched_and_canceled(site: Site) -> None:
    with site.slow_search(0.15), site.page(signed_in=False) as page:
        task = site.submit(SCAN, {"destination_id": 1, "days": 200})
        page.goto(f"/console/tasks/{task}")
        site.fill_in(page)
        bar = page.locator("main [data-progress]")
        expect(bar).to_be_visible()
        first = float(bar.get_attribute("value") or 0)
        page.wait_for_function(
            "(first) => document.querySelector('main [data-progress]').value > first + 1", arg=first
        )
        _mark(page)
        page.keyboard.press("c")
        page.get_by_role("button", name="Cancel").last.click()
        expect(page.locator("h1 + [data-state-cell]")).to_contain_text("canceled")
        _is_the_same(page)
        assert site.task(task)["status"] == "revoked"


def a_failure_is_edited_and_succeeds(site: Site) -> None:
    task = site.submit(SCAN, {"destination_id": 99_999, "days": 1})
    with site.page() as page:
        page.goto("/console/tasks?status=failure")
        page.wait_for_selector(f"[data-task='{task}']")
        page.locator(f"[data-task='{task}'] a.title").click()
        expect(page.locator(".message").first).to_contain_text("destination 99999 does not exist")
        page.get_by_role("link", name="Edit and retry").click()
        page.fill("#params", '{"destination_id": "Goa"}')
        page.get_by_role("button", name="Check and show what changes").click()
        expect(page.locator("#params-rule")).to_contain_text("destination_id")
        page.fill("#params", '{"destination_id": 1, "days": 1}')
        page.get_by_role("button", name="Check and show what changes").click()
        expect(page.locator(".diff")).to_contain_text('+     "destination_id": 1')
        page.get_by_role("button", name="Retry with this").click()
        page.wait_for_url(f"**/console/tasks/{task}")
        _mark(page)
        expect(page.locator("h1 + [data-state-cell]")).to_contain_text("succeeded")
        _is_the_same(page)


def rows_change_and_new_ones_are_announced(site: Site) -> None:
    with site.page() as page:
        page.goto("/console/tasks?name=system.health_check")
        expect(page.locator("#live")).to_have_text("live")
        for _ in range(3):
            site.submit("system.health_check", {})
        page.get_by_role("button", name=re.compile(r"\d+ new: show")).click()
        waiting = site.submit("system.health_check", {}, delay_s=3600)
        page.get_by_role("button", name=re.compile(r"\d+ new: show")).click()
        row = page.locator(f"[data-task='{waiting}']")
        expect(row).to_contain_text("waiting")
        _mark(page)
        row.locator("input[name=id]").check()
        page.locator("[data-act-selected=cancel]").click()
        page.locator("#confirm-yes").click()
        expect(row).to_contain_text("canceled")
        expect(page.locator("#notice")).to_contain_text("1 task canceled.")
        expect(page.locator("[data-selected]")).to_have_text("None selected")
        with page.expect_response(lambda answer: answer.request.headers.get("x-often-part") == "refresh"):
            page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(page.locator("#notice")).to_contain_text("1 task canceled.")
        _is_the_same(page)


def all_that_match_are_exported_and_canceled(site: Site) -> None:
    waiting = [site.submit("system.health_check", {}, delay_s=3600) for _ in range(3)]
    with site.page() as page:
        page.goto("/console/tasks")
        page.get_by_role("link", name="Waiting").click()
        page.fill("#f-name", "system.health_check")
        page.get_by_role("button", name="Apply").click()
        page.wait_for_url(re.compile("name=system.health_check"))
        with page.expect_download() as downloading:
            page.get_by_role("link", name="CSV").click()
        exported = downloading.value.path().read_text()
        assert all(task in exported for task in waiting)

        page.get_by_role("link", name="Cancel…").click()
        expect(page.get_by_text("Tasks that are waiting, named system.health_check")).to_be_visible()
        assert findings(page) == []
        page.fill("#rate", "2")
        page.fill("#reason", "provider outage")
        page.get_by_role("button", name=re.compile(r"Cancel \d+ tasks")).click()
        page.wait_for_url(re.compile(r"/console/bulk/[0-9a-f-]{36}$"))
        expect(page.locator("[aria-labelledby=progress] progress")).to_be_visible()
        assert findings(page) == []
        _mark(page)
        expect(page.locator("h1 + [data-state-of]")).to_contain_text("completed")
        expect(page.locator("[aria-labelledby=progress] .meter")).to_contain_text("100 %")
        _is_the_same(page)
        assert {site.task(task)["status"] for task in waiting} == {"revoked"}


def a_filter_becomes_a_view(site: Site) -> None:
    with site.page() as page:
        page.goto("/console/tasks?status=failure")
        page.get_by_text("Save as a view").click()
        page.fill("#view-name", "Failures")
        page.keyboard.press("Enter")
        expect(page.locator("#notice")).to_contain_text("The view Failures is saved in this browser.")
        page.goto("/console/tasks")
        page.get_by_role("link", name="Failures").click()
        page.wait_for_url("**/console/tasks?status=failure")
        assert findings(page) == []
        page.get_by_role("button", name="Remove the view Failures").click()
        expect(page.get_by_role("link", name="Failures")).to_have_count(0)


def a_key_is_made_and_revoked(site: Site) -> None:
    with site.page() as page:
        page.goto("/console")
        _press(page, "g", "y")
        page.wait_for_url("**/console/keys")
        page.fill("#name", "nightly import")
        page.get_by_label("tasks:read").check()
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator(".secret")).to_contain_text("often_")
        assert findings(page) == []
        row = page.locator("[data-row]", has_text="nightly import")
        row.get_by_role("button", name="Revoke").click()
        page.locator("#confirm-yes").click()
        expect(row).to_contain_text("revoked")


def everything_goes_by_keyboard(site: Site) -> None:
    waiting = site.submit("system.health_check", {}, delay_s=3600)
    with site.page(signed_in=False) as page:
        page.goto("/console")
        page.keyboard.type(site.admin["email"])
        page.keyboard.press("Tab")
        page.keyboard.type(site.admin["password"])
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"//[^/]+/console$"))
        _press(page, "g", "t")
        page.wait_for_url("**/console/tasks")
        page.keyboard.press("/")
        page.keyboard.type("system.health_check")
        page.keyboard.press("Enter")
        page.wait_for_url("**name=system.health_check")
        _press(page, "j", "j", "k", "x", "j", "Shift+X")
        expect(page.locator("[data-selected]")).to_have_text("2 selected")
        _press(page, "x", "k", "x", "Enter")
        page.wait_for_url(f"**/console/tasks/{waiting}")
        _press(page, "c", "Enter")
        expect(page.locator("h1 + [data-state-cell]")).to_contain_text("canceled")
        expect(page.get_by_role("button", name="Retry")).to_be_visible()
        _press(page, "r")
        expect(page.locator("h1 + [data-state-cell]")).not_to_contain_text("canceled")
        page.keyboard.press("Control+k")
        page.keyboard.type("email.send_welcome")
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/tasks?name=email.send_welcome")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()


def without_javascript_pages_read_and_post(site: Site) -> None:
    waiting = site.submit("system.health_check", {}, delay_s=3600)
    with site.page(signed_in=False, java_script_enabled=False) as page:
        page.goto("/console/tasks?status=pending")
        site.fill_in(page)
        page.locator(f"[data-task='{waiting}'] input[name=id]").check()
        page.locator("[data-act-selected=cancel]").click()
        expect(page.locator("#notice")).to_contain_text("1 task canceled.")
        page.goto(f"/console/tasks/{waiting}")
        expect(page.locator("h1 + [data-state-cell]")).to_contain_text("canceled")
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#notice")).to_contain_text("1 task started again.")
        page.goto("/console/keys")
        page.fill("#name", "without scripts")
        page.get_by_label("tasks:read").check()
        page.get_by_role("button", name="Make the key").click()
        expect(page.locator(".secret")).to_contain_text("often_")
        page.locator("[data-row]", has_text="without scripts").get_by_role("button", name="Revoke").click()
        expect(page.locator("#notice")).to_contain_text("The key is refused from now on.")


def hostile_text_stays_text(site: Site) -> None:
    """Text of tasks that contains scripts must be shown as text. If a script ran, the browser would
    report it.
    """
    task = site.submit(SCAN, {"destination_id": 99_999})
    with site.page() as page:
        for path in (
            f"/console/tasks?error={HOSTILE}",
            f"/console/go?q={HOSTILE}",
            f"/console/tasks?name={HOSTILE}",
        ):
            page.goto(path)
            assert page.locator("img[src=x]").count() == 0
        page.goto(f"/console/tasks/{task}/edit")
        page.fill("#params", f'{{"destination_id": "{HOSTILE}"}}')
        page.get_by_role("button", name="Check and show what changes").click()
        expect(page.locator("#params")).to_have_value(re.compile("<img src=x"))


def every_page_is_accessible_in_both_themes_and_narrow(site: Site) -> None:
    failed = site.submit(SCAN, {"destination_id": 99_999})
    waiting = site.submit("system.health_check", {}, delay_s=3600)
    site.register("asha.rao.of.the.front.desk@often.example")
    main = ["/console", "/console/tasks", f"/console/tasks/{failed}", f"/console/tasks/{waiting}"]
    more = [f"/console/tasks/{failed}?show={tab}" for tab in ("params", "audit")]
    more += [f"/console/tasks/{failed}/edit", f"/console/tasks/new?name={SCAN}"]
    more += ["/console/tasks?status=pending", "/console/keys", "/console/accounts"]
    for theme, width, paths in (("light", 1280, main), ("dark", 400, main + more)):
        with site.page(color_scheme=theme, width=width) as page:
            for path in paths:
                page.goto(path)
                assert (path, width, overflow(page)) == (path, width, 0)
                assert (path, theme, findings(page)) == (path, theme, [])


def _mark(page: Page) -> None:
    """Set a mark in the loaded page. If the page is reloaded, the mark is missing."""
    page.evaluate("document.body.dataset.marked = 'yes'")


def _is_the_same(page: Page) -> None:
    assert page.evaluate("document.body.dataset.marked") == "yes", "the page was loaded again"


def _press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


WALKS: list[Callable[[Site], None]] = [
    a_failure_is_edited_and_succeeds,
    a_long_task_is_watched_and_canceled,
    rows_change_and_new_ones_are_announced,
    all_that_match_are_exported_and_canceled,
    a_filter_becomes_a_view,
    a_key_is_made_and_revoked,
    everything_goes_by_keyboard,
    without_javascript_pages_read_and_post,
    hostile_text_stays_text,
    every_page_is_accessible_in_both_themes_and_narrow,
]
