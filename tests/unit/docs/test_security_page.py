"""Tests that the tests that SECURITY.md names as evidence exist."""

import ast
import re
from functools import cache

import pytest

from tests.platform import ROOT

NAMED = sorted(set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "SECURITY.md").read_text())))
CHAPTERS = 17


@cache
def _tests() -> frozenset[str]:
    """Names of all test functions of the project."""
    return frozenset(
        node.name
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_evidence_is_named() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    assert name in _tests()


def test_each_chapter_of_the_standard_has_a_line() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    assert [int(number) for number in re.findall(r"^\| V(\d+) ", page, re.MULTILINE)] == [
        *range(1, CHAPTERS + 1)
    ]
