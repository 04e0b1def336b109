"""The example of `docs/adding_a_task.md` is executed word for word."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services.worker.hotel.tasks
import shared.hotel.contracts
from services.worker import registry
from shared.contracts import catalogue
from shared.submission import NewTask
from tests.documented_worker import lay_beside
from tests.installed import INSTALLED
from tests.platform import ROOT, Platform

DOCUMENT = (ROOT / "docs/adding_a_task.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Path]:
    """The documented files, laid beside the project's own."""
    places = ("shared/hotel/contracts/greetings.py", "services/worker/hotel/tasks/greetings.py")
    for place, block in zip(places, BLOCKS, strict=False):
        assert f"`{place}`" in DOCUMENT
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(block)
    lay_beside(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for package in (shared.hotel.contracts, services.worker.hotel.tasks):
        package.__path__.pop()
        sys.modules.pop(f"{package.__name__}.greetings", None)


async def test_the_documented_task_is_found_and_a_real_worker_runs_it(
    platform: Platform, example: Path
) -> None:
    contract = catalogue.load(INSTALLED).get("greetings.say_hello")
    assert contract.name in registry.load(INSTALLED)
    new = NewTask(contract=contract, params=contract.check_params({"guest": "Asha"}))
    (task_id,) = await platform.submitter.submit([new])
    platform.start("tests.documented_worker", str(example))

    row = await platform.until(task_id, "success")

    assert row["result"] == '{"text": "Hello Asha!"}'
    (line,) = await platform.rows("SELECT message FROM task_log WHERE task_id = {}", task_id)
    assert line["message"] == "greeting Asha"


async def test_the_documented_test_passes(example: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(BLOCKS[2], namespace)
    await namespace["test_a_guest_is_greeted_by_name"]()
