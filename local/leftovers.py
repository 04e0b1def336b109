"""Finds and ends processes of an earlier launcher of this clone that was itself killed.

All that a launcher starts carries `MARK` in its environment, so it is never mistaken for something else.
"""

import signal
from pathlib import Path

import psutil

MARK = "LOCAL_SYSTEM_FOLDER"
#: A supervisor that lost its launcher stops its processes in order by itself; see `supervision`.
ORDERLY_STOP_S = 10


def end(folder: Path) -> int:
    """End what earlier launchers of this folder left and return how many processes that were."""
    found = _find(folder)
    roots = _without_parents(found)
    postgres = [process for process in roots if _name(process) == "postgres"]
    others = [process for process in roots if process not in postgres]
    # PostgreSQL goes last, so that services can write what they hold; SIGINT is its fast shutdown.
    for processes, how in ((others, signal.SIGTERM), (postgres, signal.SIGINT)):
        _signal(processes, how)
        psutil.wait_procs(processes, timeout=ORDERLY_STOP_S)
    stubborn = _find(folder)
    _signal(stubborn, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=ORDERLY_STOP_S)
    return len(found)


def _find(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _mark(process) == str(folder)]


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):  # it has ended, or is another user's
        return None


def _name(process: psutil.Process) -> str | None:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return None


def _without_parents(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those whose parent is not among them: a child is for its parent to end."""
    pids = {process.pid for process in processes}
    roots = []
    for process in processes:
        try:
            if process.ppid() not in pids:
                roots.append(process)
        except psutil.NoSuchProcess:
            continue
    return roots


def _signal(processes: list[psutil.Process], how: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(how)
        except psutil.NoSuchProcess:
            continue
