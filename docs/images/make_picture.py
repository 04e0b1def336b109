"""Makes the picture of the README from a running system. It needs Chromium, and writes `demo.png`
beside this file.

Start `make run` in one terminal, and run this program in another:

    .venv/bin/python docs/images/make_picture.py
"""

import asyncio
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[2]))

from local import demo, system
from often_client import AsyncClient

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
    """Run `make demo`, and record its output."""
    running = system.read()
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make demo", style="bold green"))
    async with AsyncClient(running.api) as api:
        await api.sign_in(running.admin.email, running.admin.password)
        await api.resume_queue(demo.PAUSED)
        ids = await demo.submit_mix(api, running)
        progress = await demo.watch(api, ids, Console(file=io.StringIO()))
        await demo.leave_paused(api)
    demo.summarise(progress, msgspec.structs.replace(running, mail_dir="var/mail"), console)
    return console


def photograph(page: Path, file: Path) -> None:
    """Make a screenshot of an HTML page with a headless browser."""
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
