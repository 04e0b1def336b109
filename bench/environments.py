"""Environments of their own for what is measured beside this project, and for the plot.

They lie under `var/bench/envs`, are made on first use, and made anew when their pinned requirements change.
"""

import subprocess
import sys
from pathlib import Path

from tests.platform import ROOT

ENVIRONMENTS = ROOT / "var" / "bench" / "envs"


def settle(requirements: Path) -> Path:
    """The `bin` folder of an environment with these packages, named after the folder of the file."""
    folder = ENVIRONMENTS / requirements.parent.name
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        stamp.write_text(requirements.read_text())
    return folder / "bin"
