"""Waits until the processes of the local system work, and says what it waits for."""

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
#: A slow machine gets a line at this interval instead of an error.
REMIND_S = 10.0
#: Enough for the last line of a log.
TAIL_BYTES = 8_192
#: File and line of a frame in a traceback.
PLACE = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)


async def until_all_answer(members: Sequence[Member], supervisor: Supervisor) -> None:
    """Return when every process answers on its own port, however long that takes.

    Raises LaunchError as soon as one of them ends by itself.
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
    """One line: what ended, its last words and where to read more."""
    file = system.LOGS / f"{name}.log"
    return f"{name} ended: {last_message(file) or 'it wrote nothing'}. Its log: {file}"


def last_message(file: Path) -> str:
    """The last line of a log: of a JSON line the message, of a traceback the error and its place."""
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
