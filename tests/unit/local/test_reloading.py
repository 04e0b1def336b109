"""Tests of which processes restart when a source file changes."""

from pathlib import Path

import pytest

from local import reloading, system
from local.configuration import Program
from local.errors import LaunchError
from local.programs import Member

EVERYTHING = {"api", "worker-1", "worker-2", "scheduler-1"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(system, "ROOT", tmp_path)
    for folder in ("shared", "services/api", "services/worker", "services/scheduler"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def members(tmp_path: Path) -> list[Member]:
    programs = [
        Program(name=name, command=["true"], directory=tmp_path, stop_within_s=1) for name in EVERYTHING
    ]
    return [Member(program, 1, lambda: True) for program in programs]


@pytest.mark.parametrize(
    ("changed", "restarted"),
    [
        ("services/api/routes/tasks.py", {"api"}),
        ("services/worker/templates/welcome.j2", {"worker-1", "worker-2"}),
        ("services/scheduler/leader.py", {"scheduler-1"}),
        ("shared/transport/push.lua", EVERYTHING),
        ("tests/test_it.py", set()),
    ],
)
def test_a_change_concerns_the_processes_that_run_the_file(
    root: Path, members: list[Member], changed: str, restarted: set[str]
) -> None:
    assert reloading.affected([root / changed], reloading.owners(members, "")) == restarted


def test_an_application_concerns_every_process(
    root: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = root / "elsewhere" / "shop" / "tasks"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("raise RuntimeError('the launcher must not import this')")
    monkeypatch.syspath_prepend(root / "elsewhere")

    owners = reloading.owners(members, "shop.tasks, not_installed")

    assert reloading.affected([package / "orders.py"], owners) == EVERYTHING


@pytest.mark.parametrize(("setting", "on"), [("0", False), ("1", True), ("", True)])
def test_the_setting_turns_reloading_off(root: Path, setting: str, on: bool) -> None:
    (root / "pyproject.toml").touch()

    assert reloading.wanted({"OFTEN_RELOAD": setting}) is on


def test_another_value_of_the_setting_is_refused_with_the_rule() -> None:
    with pytest.raises(LaunchError, match=r"OFTEN_RELOAD must be 0 \(off\) or 1 \(on\), not 'no'"):
        reloading.wanted({"OFTEN_RELOAD": "no"})


def test_an_installation_without_its_source_tree_is_not_watched(root: Path) -> None:
    assert not reloading.wanted({})
