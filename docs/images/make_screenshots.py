"""Makes the screenshots of the console from a running system after `make demo`:

    .venv/bin/python docs/images/make_screenshots.py

It needs Chromium, and writes `console_*.png` beside this file.
"""

import shutil
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from local import system

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 860}
#: Milliseconds to wait until a page has loaded its live parts.
SETTLED_MS = 2_500


def main() -> None:
    running = system.read()
    chromium = shutil.which("chromium") or "chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        light, dark = (_signed_in(browser, running, theme) for theme in ("light", "dark"))
        for name, path in _pages(running).items():
            _photograph(light, running.api + path, HERE / f"console_{name}.png")
        _photograph(dark, f"{running.api}/console", HERE / "console_dark.png")
        browser.close()


def _pages(running: system.System) -> dict[str, str]:
    """The addresses of the pages to photograph, by the name of the picture."""
    with httpx.Client(base_url=f"{running.api}/api/v1/", trust_env=False) as api:
        admin = {"email": running.admin.email, "password": running.admin.password}
        tokens = api.post("auth/login", json=admin).raise_for_status().json()
        api.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        failed = api.get("tasks", params={"status": "failure", "name": "payments.process", "limit": 1})
        scans = api.get("workflows", params={"name": "scan", "limit": 1})
        return {
            "overview": "/console",
            "tasks": "/console/tasks",
            "task": f"/console/tasks/{failed.json()['items'][0]['task_id']}",
            "workflow": f"/console/workflows/{scans.json()['items'][0]['id']}",
            "errors": "/console/errors",
        }


def _signed_in(browser: Browser, running: system.System, theme: str) -> Page:
    page = browser.new_context(viewport=SIZE, color_scheme=theme).new_page()  # type: ignore[arg-type]
    page.goto(f"{running.api}/console")
    page.fill("#email", running.admin.email)
    page.fill("#password", running.admin.password)
    page.click("button.primary")
    page.wait_for_selector("#main")
    return page


def _photograph(page: Page, address: str, file: Path) -> None:
    page.goto(address)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=file)


if __name__ == "__main__":
    main()
