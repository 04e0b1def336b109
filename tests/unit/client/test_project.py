"""Tests of the client's package: what it needs, imports and exports."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from often_client import answers
from tests.platform import ROOT

PACKAGE = ROOT / "clients/python/src/often_client"
LIBRARY = {"often_client", "httpx", "msgspec"}
COMMAND_LINE = {"click", "rich", "rich_click"}


def test_the_lock_has_what_the_client_needs() -> None:
    client = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*client["project"]["dependencies"], *client["project"]["optional-dependencies"]["cli"]}
    assert needed == {*ours["project"]["optional-dependencies"]["cli"]}
    assert client["build-system"] == ours["build-system"]
    assert client["project"]["requires-python"] == ours["project"]["requires-python"]


def test_modules_import_only_what_the_package_declares() -> None:
    allowed = {False: LIBRARY, True: LIBRARY | COMMAND_LINE}
    foreign = {
        (str(file.relative_to(PACKAGE)), name)
        for file in PACKAGE.rglob("*.py")
        for name in imported(file)
        if name not in sys.stdlib_module_names and name not in allowed[file.parent.name == "cli"]
    }
    assert foreign == set()


def test_every_answer_can_be_imported_from_the_package() -> None:
    defined = {
        node.name
        for file in PACKAGE.glob("answers/*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert defined
    assert defined <= {*dir(answers)}


def imported(file: Path) -> Iterator[str]:
    """Names of all imported top-level packages. Imports inside functions count, too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield (node.module or "").partition(".")[0]
