"""Starts the whole system on this machine and keeps it up until Ctrl-C: `make run`.

PostgreSQL and Valkey come from Python packages; DATABASE_URL and REDIS_URL name other servers to use instead.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from local import database, leftovers, system
from local.errors import LaunchError
from local.programs import Member, Plan, prepare
from local.supervision import Supervisor, supervising
from local.system import Administrator

P = ParamSpec("P")
T = TypeVar("T")

ADMINISTRATOR = "admin@often-hotels.example"
#: PostgreSQL may have a crash to recover from.
SERVERS_READY_S = 60
SERVICES_READY_S = 30
POLL_S = 0.1
#: How often a running system is looked after.
WATCH_S = 2.0


async def run() -> None:
    """Start everything in order and stay until cancelled; leave no process behind."""
    begun = time.monotonic()
    with system.locked():
        if ended := await _thoroughly(leftovers.end, system.VAR):
            print(f"Ended {ended} processes that an earlier start had left behind.")
        try:
            kept = system.recall_secrets()
            administrator = Administrator(ADMINISTRATOR, kept.admin_password)
            plan = await _thoroughly(prepare, kept)
            async with supervising(
                system.RUN,
                system.LOGS,
                plan.environment,
                servers=[member.program for member in plan.servers],
                services=[member.program for member in plan.services],
            ) as supervisor:
                await _until_all_answer(plan.servers, supervisor, SERVERS_READY_S)
                await _thoroughly(database.bring_up_to_date, plan, administrator)
                supervisor.start_services()
                await _until_all_answer(plan.services, supervisor, SERVICES_READY_S)
                with system.announced(plan.describe(administrator)):
                    _welcome(plan, administrator, time.monotonic() - begun)
                    if not await _thoroughly(plan.lets_in, administrator):
                        print(f"But {administrator.email} has another password, from before this folder's.")
                    await _watch(supervisor)
        finally:
            await _thoroughly(leftovers.end, system.VAR)


async def _thoroughly(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run blocking work in a thread, to its end even when cancelled: half a migration helps nobody."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


async def _until_all_answer(members: Sequence[Member], supervisor: Supervisor, limit_s: float) -> None:
    waiting = {member.program.name: member for member in members}
    deadline = time.monotonic() + limit_s
    while waiting:
        silent = ", ".join(waiting)
        if time.monotonic() > deadline or not waiting.keys().isdisjoint(supervisor.given_up()):
            raise LaunchError(
                f"No answer from {silent}. Why, should stand in: "
                + ", ".join(str(system.LOGS / f"{name}.log") for name in waiting)
            )
        for name, member in list(waiting.items()):
            if await asyncio.to_thread(member.answers):
                del waiting[name]
        await asyncio.sleep(POLL_S)


def _welcome(plan: Plan, administrator: Administrator, seconds: float) -> None:
    welcomed = system.RUN / "welcomed"
    password = f"in {system.DESCRIPTION}" if welcomed.exists() else administrator.password
    print(
        f"Often Tasks runs, after {seconds:.1f} s.",
        f"  API            {plan.api}",
        f"  documentation  {plan.api}/docs",
        f"  metrics        {' '.join(plan.metrics)}",
        f"  mail           {system.MAIL}",
        f"  sandbox        {plan.sandbox} plays {', '.join(plan.played) or 'nothing: all keys are set'}",
        f"  logs           {system.LOGS}",
        *([f"  data           {plan.postgres.home}"] if plan.postgres else []),
        f"  administrator  {administrator.email}, password {password}",
        "`make demo` in another terminal shows it at work. Ctrl-C stops it.",
        sep="\n",
        flush=True,
    )
    welcomed.touch()


async def _watch(supervisor: Supervisor) -> None:
    known: set[str] = set()
    while True:
        await asyncio.sleep(WATCH_S)
        given_up = set(supervisor.given_up())
        for name in given_up - known:
            print(f"{name} keeps ending and was given up; see {system.LOGS / f'{name}.log'}", flush=True)
        known = given_up


async def _until_told() -> None:
    running = asyncio.ensure_future(run())
    stops: list[signal.Signals] = []

    def stop(how: signal.Signals) -> None:
        if not stops:  # a second Ctrl-C must not cut the orderly stop
            print("\nStopping…", flush=True)
            running.cancel()
        stops.append(how)

    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(how, stop, how)
    try:
        await running
    except asyncio.CancelledError:
        print("Stopped.", flush=True)


def main() -> int:
    try:
        asyncio.run(_until_told())
    except LaunchError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)  # PostgreSQL's own account must get into folders made here
    sys.exit(main())
