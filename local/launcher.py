"""Starts the whole system in order, keeps it running until Ctrl-C, and ends every process.

PostgreSQL and Valkey come from Python packages; DATABASE_URL and REDIS_URL select other servers.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import ParamSpec, TypeVar

import httpx

from local import database, leftovers, reloading, system
from local.errors import LaunchError
from local.programs import Plan, prepare
from local.startup import until_all_answer
from local.supervision import Supervisor, supervising
from local.system import Administrator
from local.watch import watch

P = ParamSpec("P")
T = TypeVar("T")

ADMINISTRATOR = "admin@often-hotels.example"
#: Seconds for which blocking work, such as a migration, may continue after Ctrl-C.
FINISH_S = 10.0


async def run() -> None:
    """Start the whole system in order, run until canceled, and end every process."""
    begun = time.monotonic()
    reload = reloading.wanted(os.environ)
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
                await until_all_answer(plan.servers, supervisor)
                await _thoroughly(database.bring_up_to_date, plan, administrator)
                await supervisor.start_services()
                async with _reloading(plan, supervisor, reload):
                    await until_all_answer(plan.services, supervisor)
                    with system.announced(plan.describe(administrator)):
                        _welcome(plan, administrator, reload, time.monotonic() - begun)
                        await _check_password(plan, administrator)
                        await watch(plan.services, supervisor)
        finally:
            await _thoroughly(leftovers.end, system.VAR)


def _reloading(plan: Plan, supervisor: Supervisor, wanted: bool) -> AbstractAsyncContextManager[None]:
    if not wanted:
        return nullcontext()
    folders = reloading.owners(plan.services, plan.environment.get(reloading.APPLICATIONS, ""))
    return reloading.reloading(plan.services, supervisor, folders)


async def _check_password(plan: Plan, administrator: Administrator) -> None:
    try:
        known = await _thoroughly(plan.lets_in, administrator)
    except httpx.TransportError as error:
        print(f"The password of {administrator.email} was not checked: {error!r}.", flush=True)
    else:
        if not known:
            print(f"The account {administrator.email} is older than this folder and has another password.")


async def _thoroughly(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run blocking work in a thread. If this call is canceled, the work is given time to finish
    first, because it may be a migration.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        # Processes that the work has started and that still run are ended later, by `leftovers`
        await asyncio.wait([working], timeout=FINISH_S)
        raise


def _welcome(plan: Plan, administrator: Administrator, reload: bool, seconds: float) -> None:
    welcomed = system.RUN / "welcomed"
    password = f"in {system.DESCRIPTION}" if welcomed.exists() else administrator.password
    print(
        f"Often Tasks is running, after {seconds:.1f} s.",
        f"  API            {plan.api}",
        f"  console        {plan.api}/console",
        f"  documentation  {plan.api}/docs",
        f"  metrics        {' '.join(plan.metrics)}",
        f"  mail           {system.MAIL}",
        f"  sandbox        {plan.sandbox} simulates {', '.join(plan.played) or 'nothing: all keys are set'}",
        f"  logs           {system.LOGS}",
        f"  code changes   {'restart the affected service' if reload else 'need a restart'}",
        *([f"  data           {plan.postgres.home}"] if plan.postgres else []),
        f"  administrator  {administrator.email}, password {password}",
        "`make demo` in another terminal shows it at work. Ctrl-C stops it.",
        sep="\n",
        flush=True,
    )
    welcomed.touch()


async def _until_told() -> None:
    running = asyncio.ensure_future(run())
    stops: list[signal.Signals] = []

    def stop(how: signal.Signals) -> None:
        stops.append(how)
        if len(stops) == 1:  # a second Ctrl-C must not interrupt the orderly stop
            running.cancel()
            _say("\nStopping…")

    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(how, stop, how)
    try:
        await running
    except asyncio.CancelledError:
        _say("Stopped.")


def _say(text: str) -> None:
    """Print a line, unless the output is gone because its terminal or pipe was closed."""
    with suppress(OSError):
        print(text, flush=True)


def main() -> int:
    os.umask(0o022)  # PostgreSQL's own account must be able to enter the folders that this process creates
    try:
        asyncio.run(_until_told())
    except LaunchError as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    return 0
