"""Ends processes that a killed launcher of this clone of the project left behind.

Every process that a launcher starts has the variable `MARK` with the clone's folder in its
environment. Only such processes are ended.
"""

import signal
from pathlib import Path

import psutil

MARK = "LOCAL_SYSTEM_FOLDER"
#: Seconds for which a leftover supervisord may stop its processes in order, before they are killed.
ORDERLY_STOP_S = 10


def end(folder: Path) -> int:
    """End the processes that earlier launchers of this folder left behind. Returns their number."""
    found = _find(folder)
    roots = _without_parents(found)
    postgres = [process for process in roots if _name(process) == "postgres"]
    others = [process for process in roots if process not in postgres]
    # PostgreSQL is stopped last, so that the services can still write their data. SIGINT is its
    # signal for a fast shutdown.
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
    except (psutil.Error, OSError):  # the process has ended, or it belongs to another user
        return None


def _name(process: psutil.Process) -> str | None:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return None


def _without_parents(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The processes whose parent is not in the list.

    It is enough to stop these, because a parent ends its own children.
    """
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
