"""Tests that the names of a release's migrations are read from files, so that no service imports
Piccolo's tools.
"""

import importlib
from pathlib import Path

from shared import applications
from shared.migration import known


def test_what_is_read_is_what_piccolo_would_import() -> None:
    found = applications.find(applications.DEFAULT)
    read = known.ids(found)
    for module in known.modules(found):
        config = importlib.import_module(module).APP_CONFIG
        modules = [importlib.import_module(name) for name in _migrations(config.migrations_folder_path)]
        assert list(read[config.app_name]) == sorted(module.ID for module in modules)
    assert all(read.values())


def _migrations(folder: str) -> list[str]:
    root = Path(__file__).parents[3]
    files = Path(folder).relative_to(root).glob("*_*.py")
    return [".".join(file.with_suffix("").parts) for file in files if file.stem != "__init__"]
