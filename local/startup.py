"""Waits until the processes of the local system work, and says what it waits for."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

from local import checks, system
from local.errors import LaunchError
from local.programs import Member
from local.supervision import Supervisor

POLL_S = 0.1
#: A slow machine gets a line at this interval instead of an error.
REMIND_S = 10.0
#: Enough for the last line of a log.
TAIL_BYTES = 8_192


async def until_all_answer(members: Sequence[Member], supervisor: Supervisor) -> None:
    """Return when every process answers on its own port, however long that takes.

    Raises LaunchError as soon as one of them ends by itself.
    """
    waiting = {member.program.name: member for member in members}
    begun = time.monotonic()
    remind_at = begun + REMIND_S
    while waiting:
        processes = await supervisor.processes()
        if ended := [name for name in waiting if processes[name].ended]:
            raise LaunchError(" ".join(map(describe_end, ended)))
        for name, member in list(waiting.items()):
            if await asyncio.to_thread(_works, member, processes[name].pid):
                del waiting[name]
        if waiting and time.monotonic() > remind_at:
            remind_at += REMIND_S
            print(
                f"Still waiting for {', '.join(waiting)} after {time.monotonic() - begun:.0f} s.", flush=True
            )
        await asyncio.sleep(POLL_S)


def describe_end(name: str) -> str:
    """One line: what ended, its last words and where to read more."""
    file = system.LOGS / f"{name}.log"
    return f"{name} ended: {last_message(file) or 'it wrote nothing'}. Its log: {file}"


def last_message(file: Path) -> str:
    """The last line of a log; of a JSON line, the message."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        return str(json.loads(line)["message"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return line.rstrip(".")


def _works(member: Member, pid: int) -> bool:
    return pid != 0 and member.answers() and checks.listens(pid, member.port)
