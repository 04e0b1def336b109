"""A running system, and a real browser that opens the pages of its web console. Errors that the
browser reports are collected.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect

#: Names of the Chromium program. `.ci/chromium` installs Debian's package of it.
NAMES = ("chromium", "chromium-browser")
#: Time limit for each action in the browser, in milliseconds. It is long, because the machine also
#: runs the whole system.
PATIENCE_MS = 20_000
SCAN = "hotels.scan_destination"


def chromium() -> str:
    """The path of the browser's program. If there is none, the test fails in CI and is skipped
    elsewhere.
    """
    for name in NAMES:
        if found := shutil.which(name):
            return found
    reason = "Chromium is not installed; on Debian, run .ci/chromium"
    if os.environ.get("REQUIRE_CHROMIUM") or os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Site:
    """Opens pages of the web console in a browser, submits tasks, and makes simulated outside
    services slow.
    """

    def __init__(self, described: dict[str, Any], browser: Browser) -> None:
        self.address: str = described["api"]
        self.admin: dict[str, str] = described["admin"]
        self.complaints: list[str] = []
        self._browser = browser
        self._api = httpx.Client(base_url=f"{self.address}/api/v1/", trust_env=False, timeout=30)
        self._sandbox = f"{described['sandbox']}/sandbox/faults"
        login = {"email": self.admin["email"], "password": self.admin["password"]}
        tokens = self._api.post("auth/login", json=login).raise_for_status().json()
        self._api.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        self._state: Any = None
        expect.set_options(timeout=PATIENCE_MS)

    def close(self) -> None:
        self._api.close()

    def submit(self, name: str, params: dict[str, Any], **more: Any) -> str:
        answer = self._api.post("tasks", json={"name": name, "params": params, **more})
        return str(answer.raise_for_status().json()["task_id"])

    def register(self, email: str) -> None:
        account = {"email": email, "password": secrets.token_hex(8)}
        self._api.post("auth/register", json=account).raise_for_status()

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get(f"tasks/{task_id}").raise_for_status().json()
        return found

    @contextmanager
    def slow_search(self, delay_s: float) -> Iterator[None]:
        fault = {"service": "serpapi", "delay_s": delay_s, "times": None}
        httpx.post(self._sandbox, json=fault, trust_env=False).raise_for_status()
        try:
            yield
        finally:
            httpx.delete(self._sandbox, trust_env=False)

    @contextmanager
    def page(self, *, signed_in: bool = True, width: int = 1280, **options: Any) -> Iterator[Page]:
        """Open a new browser tab inside this context. Errors that the browser reports in it are
        collected.
        """
        if signed_in and self._state is None:
            self._state = self._sign_in()
        context = self._browser.new_context(
            base_url=self.address,
            viewport={"width": width, "height": 800},
            storage_state=self._state if signed_in else None,
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._note_request)
        page.on("response", self._note_response)
        try:
            yield page
        finally:
            context.close()

    def fill_in(self, page: Page) -> None:
        """Fill in and submit the sign-in form of a page."""
        page.fill("#email", self.admin["email"])
        page.fill("#password", self.admin["password"])
        page.press("#password", "Enter")

    def _sign_in(self) -> Any:
        with self.page(signed_in=False) as page:
            page.goto("/console/tasks")
            self.fill_in(page)
            page.wait_for_url("**/console/tasks")
            return page.context.storage_state()

    def _note_message(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text}")

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.address).netloc:
            self.complaints.append(f"request to {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} from {response.url}")


def findings(page: Page) -> list[str]:
    """The accessibility problems that the tool axe finds on the page."""
    answer = Axe().run(page).response
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in answer["violations"]]


def overflow(page: Page) -> int:
    """The number of pixels by which the page can be scrolled sideways."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return max(0, found)
