"""Creates Python virtual environments for the other task systems that are measured, and for the
plot.

They are in `var/bench/envs`. An environment is created on first use, and again when its pinned
requirements change.
"""

import subprocess
import sys
from pathlib import Path

from tests.platform import ROOT

ENVIRONMENTS = ROOT / "var" / "bench" / "envs"


def settle(requirements: Path) -> Path:
    """Create a virtual environment with the packages of this requirements file. It is named after
    the file's folder.

    Returns the environment's `bin` folder.
    """
    folder = ENVIRONMENTS / requirements.parent.name
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        stamp.write_text(requirements.read_text())
    return folder / "bin"
