"""Tests that the files and names on the architecture page exist where it says, and that its figures
match the code.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.ledger import connections
from shared.settings import Settings
from tests.platform import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def references(page: str) -> set[str]:
    """All code spans on the page that name a folder of the project, a Python or Lua file, or a name
    inside a file.
    """
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    found = {span for span in spans if re.fullmatch(r"\w[\w/]*(\.(py|lua)(:[\w.]+)?)?", span)}
    return {span for span in found if "/" in span or ".py" in span or span in FOLDERS}


def names_in(file: Path) -> set[str]:
    """Dotted names of everything that a Python file and its classes define."""
    return set(_defined(ast.parse(file.read_text()).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                yield prefix + name
                yield from _defined(inner, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.Assign(targets=targets):
                yield from (prefix + each.id for each in targets if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name


def exists(reference: str) -> bool:
    path, _, name = reference.partition(":")
    file = ROOT / path
    return file.exists() and (not name or name in names_in(file))


def test_the_page_refers_to_much_of_the_code() -> None:
    assert len(references(PAGE)) > 60
    assert len([each for each in references(PAGE) if ":" in each]) > 35


@pytest.mark.parametrize("reference", sorted(references(PAGE)))
def test_what_the_page_names_exists(reference: str) -> None:
    assert exists(reference)


@pytest.mark.parametrize(
    "reference",
    ["shared/gone.py", "shared/keeper.py:gone", "shared/keeper.py:Keeper.gone", "shared/keeper.py:keep"],
)
def test_a_missing_name_is_reported(reference: str) -> None:
    assert references(f"see `{reference}`.") == {reference}
    assert not exists(reference)


def test_every_folder_of_the_services_and_of_shared_is_on_the_page() -> None:
    folders = [
        path
        for top in ("services/api", "services/worker", "shared")
        for path in (ROOT / top).iterdir()
        if (path / "__init__.py").exists()
    ]
    assert len(folders) > 10
    missing = [path for path in folders if str(path.relative_to(ROOT)) not in references(PAGE)]
    assert missing == []


def test_every_transition_module_is_on_the_page() -> None:
    modules = (ROOT / "shared/ledger/transitions").glob("[a-z]*.py")
    assert [m.name for m in modules if not re.search(f"`[^`]*/{m.name}[:`]", PAGE)] == []


def test_the_connections_are_those_that_the_processes_open() -> None:
    threads = Settings().worker_threads
    worker, fixed = connections.of_worker(threads), connections.of_worker(0)
    requests, reads, scans, quotas = connections.API.by_purpose.values()
    assert f"| API | {connections.API.total} | {requests} requests, {reads} slow lists and counts, " in PAGE
    assert f" counts, {scans} scan, {quotas} count of waiting tasks |" in PAGE
    assert f"| worker | {fixed.total} + threads, {worker.total} by default | " in PAGE
    assert fixed.by_purpose == {"ledger": 4, "advisory lock": 1, "task code": 0}
    assert f"| scheduler | {connections.SCHEDULER.total} | all loops |" in PAGE
    api, workers, schedulers = 2 * connections.API.total, 10 * worker.total, 2 * connections.SCHEDULER.total
    assert f"{api} + {workers} + {schedulers} = {api + workers + schedulers}" in PAGE
