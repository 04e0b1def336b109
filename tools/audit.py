"""Checks the locked packages for known vulnerabilities with pip-audit: `python -m tools.audit`.

A package that cannot be checked counts as a failure. Without access to advisory data nothing is
checked: the tool says so and exits with 2, or with 0 under `--or-leave-out`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
PIP_AUDIT = (sys.executable, "-m", "pip_audit")
#: Sources of advisories in the order in which they are tried. The second one is used when the
#: package index serves no advisories, as is common for mirrors.
SOURCES = ("pypi", "osv")
#: A package that every source of advisories knows, so a source that does not answer for it has no
#: data. A source is asked for it first.
PROBE = "pip==26.0"
TIMEOUT_S = 15
OR_LEAVE_OUT = "--or-leave-out"


def check(program: Sequence[str] = PIP_AUDIT, *, or_leave_out: bool = False) -> int:
    """Returns the exit code: 0 if no vulnerability is known, 1 if there is one or a package could
    not be checked.
    """
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
    """Whether the source of advisories answers a request for the probe.

    An answer that reports a vulnerability counts, too.
    """
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
