"""Tests that the launcher finds the last message in the log of a process that has ended."""

from pathlib import Path

import pytest

from local.startup import last_message

TRACEBACK = """\
{"message": "starting"}
Traceback (most recent call last):
  File "/app/__main__.py", line 3, in <module>
    import mail
  File "/app/mail.py", line 7
    def x(:
          ^
SyntaxError: invalid syntax

"""


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (TRACEBACK, "SyntaxError: invalid syntax (/app/mail.py, line 7)"),
        (TRACEBACK + "Ended.\n", "Ended"),
        ('first\n{"level": "ERROR", "message": "address already in use"}\n', "address already in use"),
        ("x" * 20_000 + "\nOFTEN_API_PORT is wrong.\n", "OFTEN_API_PORT is wrong"),
        ("[1, 2]\n", "[1, 2]"),
        ("", ""),
    ],
)
def test_the_last_line_of_a_log_is_its_message(tmp_path: Path, log: str, message: str) -> None:
    file = tmp_path / "api.log"
    file.write_text(log)

    assert last_message(file) == message


def test_a_log_that_does_not_exist_has_no_message(tmp_path: Path) -> None:
    assert last_message(tmp_path / "api.log") == ""
