"""Watches the running local system: reports processes that keep ending, and processes that are
alive but stuck.
"""

import asyncio
import time
from collections.abc import Sequence

from local import checks, system
from local.programs import Member
from local.startup import describe_end
from local.supervision import Supervisor

INTERVAL_S = 2.0
#: Seconds for which a failing liveness check is tolerated, normally and right after a start. A busy
#: machine may delay an answer for a few seconds, and for longer while a process starts.
PATIENCE_S = 10.0
START_PATIENCE_S = 60.0


class Complaints:
    """Turns the results of liveness checks into messages: one line when a problem begins, and one
    when it ends.
    """

    def __init__(self) -> None:
        #: Time at which the present problem of a process began, by process id.
        self._since: dict[int, float] = {}
        #: Ids of the processes whose liveness check has succeeded before.
        self._worked: set[int] = set()
        self._reported: set[str] = set()

    def note(self, name: str, pid: int, trouble: str | None, now: float) -> str | None:
        """Process the result of one liveness check. Returns the line to show, or None if nothing
        has changed.
        """
        if trouble is None:
            self._since.pop(pid, None)
            self._worked.add(pid)
            if name not in self._reported:
                return None
            self._reported.remove(name)
            return f"{name} works again."
        patience_s = PATIENCE_S if pid in self._worked else START_PATIENCE_S
        if name in self._reported or now - self._since.setdefault(pid, now) < patience_s:
            return None
        self._reported.add(name)
        return f"{name} is alive but does not work: {trouble}. Its log: {system.LOGS / f'{name}.log'}"


async def watch(services: Sequence[Member], supervisor: Supervisor) -> None:
    """Report problems until canceled. Raises LaunchError when supervisord has ended."""
    complaints = Complaints()
    known: set[str] = set()
    while True:
        await asyncio.sleep(INTERVAL_S)
        processes = await supervisor.processes()
        given_up = {name for name, process in processes.items() if process.state == "FATAL"}
        for name in sorted(given_up - known):
            print(
                f"{describe_end(name)}. It keeps ending and is not started again. "
                "Correct the cause, then restart `make run`.",
                flush=True,
            )
        known = given_up
        running = [(one, processes[one.program.name]) for one in services]
        await asyncio.gather(
            *(_check(one, process.pid, complaints) for one, process in running if process.state == "RUNNING")
        )


async def _check(service: Member, pid: int, complaints: Complaints) -> None:
    trouble = await asyncio.to_thread(checks.trouble, service.port)
    if line := complaints.note(service.program.name, pid, trouble, time.monotonic()):
        print(line, flush=True)
