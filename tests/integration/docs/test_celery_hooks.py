"""Tests the hooks in `docs/migrating_from_celery.md`.

The page's code runs unchanged, with tasks that a real worker runs.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.pages import blocks
from tests.platform import ROOT, Platform

(HOOKS,) = (
    block.code for block in blocks(ROOT / "docs/migrating_from_celery.md") if "HOOKS = Hooks(" in block.code
)

FILES = {
    "__init__.py": "",
    "hooks.py": HOOKS,
    "application.py": """
from shared.applications import Application

APPLICATION = Application(
    name="refunds", contracts="refunds.contracts", bodies="refunds.bodies", hooks="refunds.hooks:HOOKS"
)
""",
    "contracts/__init__.py": "",
    "contracts/one.py": """
from datetime import timedelta

from shared.contracts.contract import Contract, Params, Result, Retries


class Refund(Params):
    failures: int


class Refunded(Result):
    attempt: int


REFUND = Contract(
    name="refunds.try_one",
    queue="refunds",
    params=Refund,
    result=Refunded,
    retries=Retries(max_attempts=2, delay=timedelta(seconds=0.1), jitter=0),
)
""",
    "bodies/__init__.py": "",
    "bodies/one.py": """
from refunds.contracts.one import REFUND, Refund, Refunded
from services.worker.registry import task
from shared.contracts.context import TaskContext


@task(REFUND)
async def refund(context: TaskContext, params: Refund) -> Refunded:
    if context.attempt <= params.failures:
        raise LookupError("no such charge")
    return Refunded(attempt=context.attempt)
""",
}


@pytest.fixture
def contracts(tmp_path: Path) -> Iterator[Any]:
    """Write the application that the page shows to `tmp_path`, and import its contracts."""
    for name, text in FILES.items():
        (tmp_path / "refunds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "refunds" / name).write_text(text)
    sys.path.insert(0, str(tmp_path))
    yield importlib.import_module("refunds.contracts.one")
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "refunds"]:
        del sys.modules[name]


async def test_each_hook_is_called_when_the_page_says(
    platform: Platform, contracts: Any, tmp_path: Path
) -> None:
    chosen = {"OFTEN_APPLICATIONS": "refunds", "PYTHONPATH": str(tmp_path)}
    await platform.start_scheduler(**chosen)
    platform.start("services.worker", OFTEN_WORKER_QUEUES="refunds", **chosen)
    (succeeds,) = await platform.submit(contracts.REFUND, contracts.Refund(failures=1))
    (fails,) = await platform.submit(contracts.REFUND, contracts.Refund(failures=2))
    await platform.until(succeeds, "success")
    await platform.until(fails, "failure")

    async def said(task_id: UUID) -> list[str]:
        rows = await platform.rows(
            "SELECT message FROM task_log WHERE task_id = {} ORDER BY claim, ordinal", task_id
        )
        return [row["message"] for row in rows]

    ran = "ran for 0.0 s"
    again = "is tried again in 0:00:00.100000: no such charge"
    assert await said(succeeds) == [ran, again, ran, "returned Refunded(attempt=2)"]
    assert await said(fails) == [ran, again, ran, "gave up: no such charge"]
