"""Checks the locked packages for known vulnerabilities with pip-audit: `python -m tools.audit`.

A package that cannot be checked is a failure. Where no advisory data can be reached, it says that the check
is left out and ends with 2, or with 0 if it is called with `--or-leave-out`. It never reports success then.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
PIP_AUDIT = (sys.executable, "-m", "pip_audit")
#: Where advisories are asked for. The second one is asked where the index has none, as mirrors do not.
SOURCES = ("pypi", "osv")
#: Every source knows this package. It is asked for first, to tell missing data from an unknown package.
PROBE = "pip==26.0"
TIMEOUT_S = 15
OR_LEAVE_OUT = "--or-leave-out"


def check(program: Sequence[str] = PIP_AUDIT, *, or_leave_out: bool = False) -> int:
    """The exit code: 0 when no vulnerability is known, 1 when one is or a package is unknown."""
    source = next((each for each in SOURCES if _knows_the_probe(program, each)), None)
    if source is None:
        _say(
            f"LEFT OUT: the audit of {LOCK.name}. No advisory data can be reached ({' or '.join(SOURCES)}): "
            "a locked package may have a known vulnerability. Run `make audit` where one of them answers."
        )
        return 0 if or_leave_out else 2
    ran = _ask(program, source, LOCK)
    _say(ran.stdout + ran.stderr)
    return ran.returncode


def _knows_the_probe(program: Sequence[str], source: str) -> bool:
    """Whether the source answers; a vulnerability of the probe is an answer, too."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "probe.txt"
        requirements.write_text(f"{PROBE}\n")
        ran = _ask(program, source, requirements, "--no-deps", "--format", "json")
    return '"dependencies"' in ran.stdout


def _ask(
    program: Sequence[str], source: str, requirements: Path, *more: str
) -> "subprocess.CompletedProcess[str]":
    options = ("--strict", "--disable-pip", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S))
    command = [*program, *options, "--vulnerability-service", source, *more, "-r", str(requirements)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _say(text: str) -> None:
    sys.stderr.write(f"{text.strip()}\n")


if __name__ == "__main__":
    sys.exit(check(or_leave_out=OR_LEAVE_OUT in sys.argv[1:]))
