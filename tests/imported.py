"""Finds out which packages the import of a module loads, by importing it in a separate process."""

import subprocess
import sys
from functools import cache

from tests.platform import ROOT


@cache
def imported(module: str) -> frozenset[str]:
    """The top-level packages that the import of this module loads. OpenTelemetry is hidden, because
    redis-py imports it wherever it is installed.
    """
    missing = "import sys; sys.modules['opentelemetry'] = None"
    code = f"{missing}; before = {{*sys.modules}}; import {module}; print(*({{*sys.modules}} - before))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(name.partition(".")[0] for name in ended.stdout.split())
