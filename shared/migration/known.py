"""The migrations that this release brings, found without running any.

The files of an app are read, not imported: Piccolo's registry of apps would load a code formatter into every
service, which takes a fifth of its start.
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
    """Modules with Piccolo's `APP_CONFIG`, in the order in which they migrate."""
    return [LEDGER, *(each.migrations for each in applications if each.migrations)]


def ids(applications: Iterable[Application]) -> Mapping[str, Sequence[str]]:
    """Ids of migrations by Piccolo app."""
    apps = [_read(name) or _imported(name) for name in modules(applications)]
    return {name: _ids(folder) for name, folder in apps}


def _read(module: str) -> tuple[str, Path] | None:
    """Name and folder of an app that is written as the platform's are; None for any other."""
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
