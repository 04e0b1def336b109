"""Tests of the Makefile's targets, and of what `make run` installs."""

import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploy import lock
from tests.imported import imported

ROOT = Path(__file__).parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()
#: Name of the client package. The Makefile installs it from clients/python, so it is not in the
#: lock file.
CLIENT = "often_client"
#: Targets that only other targets use, so the help does not list them.
INTERNAL = {"compose"}


def test_help_lists_every_target() -> None:
    declared = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert declared is not None

    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert set(re.findall(r"^  make (\S+) ", shown, re.MULTILINE)) == (
        set(declared[1].replace("\\", "").split()) - INTERNAL
    )


@pytest.mark.parametrize(
    "module",
    [
        *("local.launcher", "local.demo", "local.mail", "local.samples", "local.sandbox.__main__"),
        *("services.api.__main__", "services.worker.__main__", "services.scheduler.__main__"),
        "supervisor.supervisord",
    ],
)
def test_what_runs_imports_only_what_make_run_installs(module: str) -> None:
    groups = re.search(r"^RUN_GROUPS := (.*)$", MAKEFILE, re.MULTILINE)
    assert groups is not None
    roots = lock.roots((ROOT / "pyproject.toml").read_text(), groups[1].split())
    installed = lock.read(lock.select(lock.read((ROOT / "requirements.lock").read_text()), roots))
    providers = packages_distributions()

    missing = {
        name
        for name in imported(module)
        if name in providers and not {_normal(one) for one in providers[name]} & installed.keys()
    }

    assert missing - {CLIENT} == set()


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
