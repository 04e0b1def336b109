"""Tests that processes are ended when their launcher has died: by their leash (a watching process)
at once, or by the next launcher.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import leftovers

#: A program that starts a process on a leash, so that the process ends when this program dies. It
#: prints the process' id and waits.
LAUNCHER = """
import subprocess, sys, time
from local.leash import leashed
process = subprocess.Popen(["sleep", "600"])
with leashed(process.pid, "TERM"):
    print(process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], env={**os.environ, leftovers.MARK: str(tmp_path)}) as process:
        yield process
        process.kill()


def test_what_a_launcher_of_this_folder_left_is_ended(
    left_behind: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert leftovers.end(tmp_path) == 1

    assert left_behind.poll() is not None


def test_what_a_launcher_of_another_folder_runs_is_left_alone(
    left_behind: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert leftovers.end(tmp_path / "other") == 0

    assert left_behind.poll() is None


def test_a_leashed_process_ends_with_the_launcher_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        leashed = psutil.Process(int(launcher.stdout.readline()))
        launcher.kill()

    leashed.wait(timeout=5)
