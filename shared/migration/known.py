"""Finds the migrations that belong to this release, without running any.

The files of an app are read and not imported. Piccolo's registry of apps would import a code
formatter into every service, which takes a fifth of the time that a service needs to start.
"""

import importlib
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from shared.applications import Application

LEDGER = "shared.ledger.piccolo_app"
FOLDER = "migrations"
_ID = re.compile(r'^ID = "([^"]+)"', re.MULTILINE)
_APP_NAME = re.compile(r'^ +app_name="([^"]+)",$', re.MULTILINE)


def modules(applications: Iterable[Application]) -> list[str]:
    """The modules with the `APP_CONFIG` of each Piccolo app, in the order of their migrations."""
    return [LEDGER, *(each.migrations for each in applications if each.migrations)]


def ids(applications: Iterable[Application]) -> Mapping[str, Sequence[str]]:
    """The ids of the migrations of this release, by Piccolo app."""
    apps = [_read(name) or _imported(name) for name in modules(applications)]
    return {name: _ids(folder) for name, folder in apps}


def _read(module: str) -> tuple[str, Path] | None:
    """The name and the directory of a Piccolo app, read from the text of its module.

    None for an app whose module is not written like those of the platform.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    found, folder = _APP_NAME.search(file.read_text()), file.parent / FOLDER
    return (found[1], folder) if found and folder.is_dir() else None


def _imported(module: str) -> tuple[str, Path]:
    config = importlib.import_module(module).APP_CONFIG
    return config.app_name, Path(config.resolved_migrations_folder_path)


def _ids(folder: Path) -> list[str]:
    files = sorted(folder.glob("*.py"))
    return [found[1] for file in files if (found := _ID.search(file.read_text()))]
