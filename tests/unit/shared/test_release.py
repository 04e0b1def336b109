"""Tests that processes know their version even if the package is not installed."""

import tomllib
from pathlib import Path

from shared.release import RELEASE

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_version_of_the_code_is_that_of_the_project() -> None:
    assert tomllib.loads(PROJECT.read_text())["project"]["version"] == RELEASE
