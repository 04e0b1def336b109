"""Tests that the code of the tutorial `docs/workflows.md` runs as written."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.api.workflows import definition
from services.api.workflows.schemas import RetryBody, WorkflowBody
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.workflows import wiring
from tests.pages import blocks
from tests.platform import ROOT

BLOCKS = blocks(ROOT / "docs/workflows.md")


@pytest.fixture
def page() -> dict[str, Any]:
    """All Python blocks of the page, executed as one module."""
    names: dict[str, Any] = {"__name__": "tests.unit.docs.page"}
    code = "\n".join(block.code for block in BLOCKS if block.language == "python")
    exec(compile(code, "docs/workflows.md", "exec"), names)
    return names


async def test_the_tests_of_the_page_pass(page: dict[str, Any]) -> None:
    tests = [value for name, value in page.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        await test()


def test_the_other_workflow_of_the_page_compiles(page: dict[str, Any]) -> None:
    graph = wiring.compile(page["scan"]([1, 2]))
    assert [each.step.needs for each in graph.steps] == [(), ("scan",)]


def test_the_schedule_of_the_page_begins_its_workflow(page: dict[str, Any]) -> None:
    graph = page["NIGHTLY"].graph(None, timedelta(0))
    assert [each.step.name for each in graph.steps] == ["scan", "summarize"]


def test_the_requests_of_the_page_are_accepted(page: dict[str, Any]) -> None:
    request, retry = (block.code for block in BLOCKS if block.language == "json")
    contracts = [value for value in page.values() if isinstance(value, Contract)]
    body = msgspec.json.decode(request, type=WorkflowBody)
    graph = definition.compiled(body, Catalogue(contracts), owner=7)
    assert [each.step.name for each in graph.steps] == ["check", "charge", "refund"]
    assert msgspec.json.decode(retry, type=RetryBody).step == "charge"
