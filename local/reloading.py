"""Restarts services whose code has changed. OFTEN_RELOAD=0 turns this off.

Only a source tree is watched, not an installed package.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from watchfiles import awatch

from local import system
from local.errors import LaunchError
from local.programs import Member
from local.startup import until_all_answer
from local.supervision import Supervisor

VARIABLE = "OFTEN_RELOAD"
APPLICATIONS = "OFTEN_APPLICATIONS"
#: Milliseconds without another file change after which services are restarted. Editors write a file
#: in several steps.
QUIET_MS = 50


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether services are to be restarted on changes. Raises LaunchError if OFTEN_RELOAD is
    neither 0 nor 1.
    """
    setting = environment.get(VARIABLE) or "1"
    if setting not in ("0", "1"):
        raise LaunchError(f"{VARIABLE} must be 0 (off) or 1 (on), not {setting!r}.")
    return setting == "1" and (system.ROOT / "pyproject.toml").exists()


def owners(members: Sequence[Member], applications: str) -> dict[Path, set[str]]:
    """The folders to watch, each with the names of the processes that run its code.

    `applications` lists the packages of applications, separated by commas.
    """
    everything = {member.program.name for member in members}
    folders = {system.ROOT / "shared": everything}
    for service in ("api", "worker", "scheduler"):
        folders[system.ROOT / "services" / service] = {
            name for name in everything if name.partition("-")[0] == service
        }
    for package in filter(None, map(str.strip, applications.split(","))):
        folders |= dict.fromkeys(_folders(package), everything)
    return {folder: names for folder, names in folders.items() if folder.is_dir()}


def affected(changed: Iterable[Path], folders: Mapping[Path, set[str]]) -> set[str]:
    """Names of the processes that run code from these changed files."""
    return {
        name
        for file in changed
        for folder, names in folders.items()
        if file.is_relative_to(folder)
        for name in names
    }


@asynccontextmanager
async def reloading(
    members: Sequence[Member], supervisor: Supervisor, folders: Mapping[Path, set[str]]
) -> AsyncIterator[None]:
    """Watch the folders for changes and restart the affected services, until the context ends."""
    watching = asyncio.create_task(_watch(members, supervisor, folders))
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(members: Sequence[Member], supervisor: Supervisor, folders: Mapping[Path, set[str]]) -> None:
    reporting: asyncio.Task[None] | None = None
    unreported: set[str] = set()
    try:
        async for changes in awatch(*folders, step=QUIET_MS):
            begun = time.monotonic()
            files = sorted(Path(path) for _, path in changes)
            if reporting is not None and not reporting.done():
                reporting.cancel()
            else:
                unreported.clear()
            restarted = affected(files, folders)
            unreported |= restarted
            print(f"{_list(files)} changed: restarting {', '.join(sorted(restarted))}.", flush=True)
            await asyncio.gather(*map(supervisor.restart, restarted))
            restarting = [member for member in members if member.program.name in unreported]
            reporting = asyncio.create_task(_report(restarting, supervisor, begun))
    except (OSError, RuntimeError) as error:  # for example, the system's limit of watched folders was reached
        print(f"Code changes are no longer noticed: {error}. Restart `make run` to apply them.", flush=True)
    finally:
        if reporting is not None:
            reporting.cancel()


async def _report(members: Sequence[Member], supervisor: Supervisor, begun: float) -> None:
    try:
        await until_all_answer(members, supervisor)
    except LaunchError as error:
        print(f"{error}. Save the corrected file to start it again.", flush=True)
    else:
        names = ", ".join(sorted(member.program.name for member in members))
        print(f"New code runs after {time.monotonic() - begun:.1f} s: {names}.", flush=True)


def _list(files: Sequence[Path]) -> str:
    first = files[0].relative_to(system.ROOT) if files[0].is_relative_to(system.ROOT) else files[0]
    return f"{first}" if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _folders(package: str) -> list[Path]:
    """The folder of a package, which is found without importing its parent packages."""
    top, *inner = package.split(".")
    found = find_spec(top)
    if found is None:  # an unknown package is ignored here: the services refuse it with an explanation
        return []
    return [Path(location, *inner) for location in found.submodule_search_locations or ()]
