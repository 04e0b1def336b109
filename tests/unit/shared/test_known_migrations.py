"""What a release brings is read from files, so that no service imports Piccolo's tools."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("service", ["api", "worker", "scheduler"])
def test_no_service_imports_a_code_formatter(service: str) -> None:
    code = f"import services.{service}.__main__, sys; sys.exit('black' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
