"""Tests of the audit of the lock file: its report when advisories are available, and when they are
not.
"""

import sys
from pathlib import Path

import pytest

from tools import audit

#: A program in place of pip-audit. Asked about the probe, a file with one package with a known
#: vulnerability, it gives one chosen answer. Asked about the lock file, it gives another.
STAND_IN = """
import sys
source, file = sys.argv[sys.argv.index("--vulnerability-service") + 1], sys.argv[-1]
assert "--strict" in sys.argv
if source != {answers!r}:
    sys.exit("not found")
if file.endswith("probe.txt"):
    print('{{"dependencies": []}}')
else:
    print({said!r})
    sys.exit({code})
"""


def _program(folder: Path, *, answers: str, said: str = "", code: int = 0) -> tuple[str, ...]:
    script = folder / "pip_audit.py"
    script.write_text(STAND_IN.format(answers=answers, said=said, code=code))
    return sys.executable, str(script)


@pytest.mark.parametrize("source", audit.SOURCES)
def test_the_source_that_answers_is_asked_about_the_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    assert audit.check(_program(tmp_path, answers=source, said="No known vulnerabilities found")) == 0
    assert capsys.readouterr().err == "No known vulnerabilities found\n"
    assert audit.check(_program(tmp_path, answers=source, said="litestar 2.25.0 CVE-2099-1", code=1)) == 1
    assert "CVE-2099-1" in capsys.readouterr().err


def test_without_advisories_it_says_what_is_left_out_and_reports_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = _program(tmp_path, answers="nobody")
    assert (audit.check(nobody), audit.check(nobody, or_leave_out=True)) == (2, 0)
    said = capsys.readouterr().err
    assert said.count("LEFT OUT: the audit of requirements.lock.") == 2
    assert "vulnerabilities found" not in said
