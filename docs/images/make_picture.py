"""Makes the picture of the README from a running system: `make run` in one terminal, this in another.

    .venv/bin/python docs/images/make_picture.py

It needs Chromium, and writes `demo.png` beside this file.
"""

import asyncio
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[2]))

from local import demo, system

HERE = Path(__file__).parent
PAGE = """
<html><meta charset=utf-8>
<style>
  body {{ background: #16181d; color: #d7dae0; margin: 20px }}
  pre {{ font: 15px/1.2 "DejaVu Sans Mono", monospace; margin: 0; white-space: pre-wrap }}
</style>
<pre>{code}</pre>
</html>
"""


async def run_demo() -> Console:
    """Run `make demo`, and record what it shows."""
    running = system.read()
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make demo", style="bold green"))
    async with httpx.AsyncClient(base_url=f"{running.api}/api/v1/", timeout=10, trust_env=False) as api:
        await demo.sign_in(api, running.admin)
        ids = await demo.submit_mix(api, running.sandbox)
        progress = await demo.watch(api, ids, Console(file=io.StringIO()))
    demo.summarise(progress, "var/mail", console)
    return console


def photograph(page: Path, file: Path) -> None:
    """Render a page headless."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--window-size=1000,470", f"--screenshot={file}"]
    chromium = shutil.which("chromium") or "chromium"
    subprocess.run([chromium, *options, page.as_uri()], check=True, capture_output=True, timeout=120)


def main() -> None:
    console = asyncio.run(run_demo())
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "demo.html"
        page.write_text(console.export_html(code_format=PAGE, inline_styles=True))
        photograph(page, HERE / "demo.png")


if __name__ == "__main__":
    main()
