"""Tests a task body that forks a child process. The child survives when the worker is killed, and
must not keep the worker's resources.
"""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from local.ports import HOST, pick
from tests.eventually import eventually
from tests.hostile_tasks import FORK, Forks
from tests.platform import Platform

#: Seconds within which the task must be rescued. It takes about 5 s. It would take 60 s if the
#: child had inherited a lock or a connection that makes the dead worker look alive.
RESCUE_LIMIT_S = 30


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    """Path of the file to which the forked child process writes its process id. The child is killed
    after the test.
    """
    file = tmp_path / "child.pid"
    yield file
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(file.read_text()), signal.SIGKILL)


async def test_a_forked_child_keeps_nothing_of_its_killed_worker(platform: Platform, pid_file: Path) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_scheduler()
    worker = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    (task_id,) = await platform.submit(FORK, Forks(file=str(pid_file), seconds=600))
    await eventually(lambda: pid_file.exists() and pid_file.read_text())
    child = int(pid_file.read_text())
    await platform.until(task_id, "started")

    worker.kill()
    worker.wait(timeout=30)
    await platform.start_worker(OFTEN_METRICS_PORT=str(port))

    row = await platform.until(task_id, "success", timeout_s=RESCUE_LIMIT_S)
    assert (row["attempt"], row["failures"]) == (2, 0)
    os.kill(child, 0)
    (first,) = await platform.attempts(task_id)
    assert first["outcome"] == "crashed"


async def test_a_forked_child_ends_at_sigterm(platform: Platform, pid_file: Path) -> None:
    await platform.start_worker()
    (task_id,) = await platform.submit(FORK, Forks(file=str(pid_file), seconds=600))
    await eventually(lambda: pid_file.exists() and pid_file.read_text())

    os.kill(int(pid_file.read_text()), signal.SIGTERM)

    # The task succeeds because the child process has ended: SIGTERM ends it, although the worker
    # that forked it handles SIGTERM differently.
    row = await platform.until(task_id, "success", timeout_s=10)
    assert row["attempt"] == 1


async def test_the_metrics_port_of_a_killed_worker_is_free_although_its_child_lives(
    platform: Platform, pid_file: Path
) -> None:
    port = pick("metrics")["metrics"]
    worker = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    await platform.submit(FORK, Forks(file=str(pid_file), seconds=600))
    await eventually(lambda: pid_file.exists() and pid_file.read_text())
    worker.kill()
    worker.wait(timeout=30)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    os.kill(int(pid_file.read_text()), 0)
