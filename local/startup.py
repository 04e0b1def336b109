"""Waits until all processes of the local system work, and shows which ones it is waiting for."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

from local import checks, ports, system
from local.errors import LaunchError
from local.programs import Member
from local.supervision import Supervisor

POLL_S = 0.1
#: Interval in seconds of the message that names the processes that do not answer yet. A slow start
#: is never treated as an error.
REMIND_S = 10.0
#: Number of bytes to read from the end of a log file, enough for its last message.
TAIL_BYTES = 8_192
#: Matches the file and line of a frame in a Python traceback.
PLACE = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)


async def until_all_answer(members: Sequence[Member], supervisor: Supervisor) -> None:
    """Wait until every process answers on its own port, however long that takes.

    Raises LaunchError as soon as a process ends by itself.
    """
    waiting = {member.program.name: member for member in members}
    begun = time.monotonic()
    remind_at = begun + REMIND_S
    while waiting:
        processes = await supervisor.processes()
        if ended := [member for name, member in waiting.items() if processes[name].ended]:
            raise LaunchError(" ".join(map(_describe_failure, ended)))
        for name, member in list(waiting.items()):
            if await asyncio.to_thread(_works, member, processes[name].pid):
                del waiting[name]
        if waiting and time.monotonic() > remind_at:
            remind_at += REMIND_S
            print(
                f"Still waiting for {', '.join(waiting)} after {time.monotonic() - begun:.0f} s.", flush=True
            )
        await asyncio.sleep(POLL_S)


def _describe_failure(member: Member) -> str:
    taken = "" if ports.is_free(member.port) else f"Port {member.port} is taken by another program. "
    return taken + describe_end(member.program.name)


def describe_end(name: str) -> str:
    """Describe a process that has ended, in one line: its name, its last message, and the path of
    its log.
    """
    file = system.LOGS / f"{name}.log"
    return f"{name} ended: {last_message(file) or 'it wrote nothing'}. Its log: {file}"


def last_message(file: Path) -> str:
    """The last message of a log file. For a traceback, it is the error and the place where it was
    raised.
    """
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - TAIL_BYTES))
            tail = log.read().decode(errors="replace").rstrip()
    except FileNotFoundError:
        return ""
    before, _, line = tail.rpartition("\n")
    line = line.rstrip(".")
    try:
        return str(json.loads(line)["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        in_traceback = before.rpartition("\n")[2].startswith("  ")
        places = PLACE.findall(before) if in_traceback else []
        return f"{line} ({places[-1][0]}, line {places[-1][1]})" if places else line


def _works(member: Member, pid: int) -> bool:
    return pid != 0 and member.answers() and checks.listens(pid, member.port)
