"""Tests that the page about failures of other workflow engines names tests that exist."""

import re

from tests.platform import ROOT

PAGE = (ROOT / "docs/workflow_failures.md").read_text()
TESTED, LATER = PAGE.split("## Of features that are not there yet")
DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
PLACE = re.compile(r"[\w.-]+/[\w.-]+#\d+|Oban Pro")


def rows(tables: str) -> list[list[str]]:
    """Rows of the page's tables.

    Each has a failure, where it was reported, and the tests or the feature that cover it.
    """
    return [line.strip("| ").split(" | ") for line in tables.splitlines() if PLACE.search(line)]


def test_every_test_on_the_page_exists() -> None:
    files = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in files for name in DEFINED.findall(text)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 25
    assert named - defined == set()


def test_every_failure_names_its_place_and_a_test() -> None:
    assert len(rows(TESTED)) + len(rows(LATER)) == PAGE.count("\n| ") - PAGE.count("\n| what went wrong")
    assert all(PLACE.match(where) and test.startswith("`test_") for _, where, test in rows(TESTED))
    assert "`test_" not in LATER
