"""Helper for tests: migrates a database as an operator does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def migrate(url: str) -> None:
    """Migrate the database. Raises AssertionError with the output of a migration that fails."""
    command = [sys.executable, "-m", "shared.migrate"]
    environment = {**os.environ, "DATABASE_URL": url}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
