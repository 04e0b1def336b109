"""The migrations that this release brings, found without running any."""

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from piccolo.conf.apps import AppConfig

from shared.applications import Application

LEDGER = "shared.ledger.piccolo_app"
_ID = re.compile(r'^ID = "([^"]+)"', re.MULTILINE)


def modules(applications: Iterable[Application]) -> list[str]:
    """Modules with Piccolo's `APP_CONFIG`, in the order in which they migrate."""
    return [LEDGER, *(each.migrations for each in applications if each.migrations)]


def ids(applications: Iterable[Application]) -> Mapping[str, Sequence[str]]:
    """Ids of migrations by Piccolo app. The files are read, not imported: a service runs none."""
    configs = [importlib.import_module(name).APP_CONFIG for name in modules(applications)]
    return {config.app_name: _ids(config) for config in configs}


def _ids(config: AppConfig) -> list[str]:
    files = sorted(Path(config.resolved_migrations_folder_path).glob("*.py"))
    return [found[1] for file in files if (found := _ID.search(file.read_text()))]
