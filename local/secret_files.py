"""Gives each process its own secrets in files, so that no process has another one's secrets in its
environment.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from shared import applications, environment
from shared.environment import IN_FILE
from shared.settings import Settings


class Secrets:
    """Takes the secrets of the whole system out of the environment, which all processes share."""

    def __init__(self, folder: Path, values: Mapping[str, str]) -> None:
        self._folder = folder
        self._services = _services(values.get(applications.VARIABLE, applications.DEFAULT))
        named = [name for variable in self._services for name in (variable, f"{variable}{IN_FILE}")]
        self._values = {name: values[name] for name in named if values.get(name)}
        #: Environment variables that are not secret, so every process may read them.
        self.public = {name: value for name, value in values.items() if name not in named}

    def of(self, process: str, service: str, **more: str) -> dict[str, str]:
        """Store the secrets of a process' service in files. Returns the environment variables that
        name the files.

        `more` replaces some of the values.
        """
        wanted = [variable for variable, services in self._services.items() if service in services]
        given = {name: value for name, value in self._values.items() if name.removesuffix(IN_FILE) in wanted}
        folder = self._folder / process
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        return dict(_written(folder, name, value) for name, value in (given | more).items())


def _written(folder: Path, name: str, value: str) -> tuple[str, str]:
    """Write one secret to a file. Returns the environment variable that names the file.

    If the user's environment already names a file, that file is used.
    """
    if name.endswith(IN_FILE):
        return name, value
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(value)
    return f"{name}{IN_FILE}", str(file)


def _services(names: str) -> dict[str, tuple[str, ...]]:
    """For each environment variable with a secret, the services that need it."""
    found = applications.find(names)
    kinds = [Settings, *(applications.resolve(each.settings) for each in found if each.settings)]
    return {
        variable: tuple(services)
        for kind in kinds
        for variable, services in environment.secrets(kind).items()
    }
