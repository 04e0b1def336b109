"""Tests that ids of tasks, workers and the like are in the fields of a log line and not in its
text, in both log formats.
"""

import ast
import json
import logging
import re
from collections.abc import Iterator

import pytest

from shared.telemetry import logging as log_setup
from tests.platform import ROOT

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
#: Matches the source text of expressions that identify a task, a worker or the like, such as
#: `task.id`.
IDENTIFIES = re.compile(r"(?:^|[._])(?:ids?|attempt|worker|scheduler|queue|schedule|workflow|partition)$")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger. Its handlers and level are restored after the test."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def logged(capsys: pytest.CaptureFixture[str], log_format: str) -> str:
    log_setup.configure("worker", log_format)
    log = logging.getLogger("test")
    log.warning(
        "a task ignores the interrupt. Its thread is at\n%s", "hog", extra={"task_id": "7", "attempt": 2}
    )
    return capsys.readouterr().err


@pytest.mark.usefixtures("root")
def test_fields_follow_the_first_line_of_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    lines = logged(capsys, "text").splitlines()
    assert lines[0].endswith("a task ignores the interrupt. Its thread is at task_id=7 attempt=2")
    assert lines[1:] == ["hog"]


@pytest.mark.usefixtures("root")
def test_fields_are_keys_of_a_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = json.loads(logged(capsys, "json"))
    assert line["message"] == "a task ignores the interrupt. Its thread is at\nhog"
    assert (line["task_id"], line["attempt"]) == ("7", 2)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """All logging calls in the services, the launcher and shared code, each with its file
    and line.
    """
    for folder in ("services", "shared", "local"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and _is_logger(node.func):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def _is_logger(function: ast.expr) -> bool:
    """Whether the called function is a logging method. Loggers are always named `log`."""
    if not (isinstance(function, ast.Attribute) and function.attr in LEVELS):
        return False
    return ast.unparse(function.value).rpartition(".")[2] == "log"


def test_no_message_contains_what_belongs_into_a_field() -> None:
    found = dict(calls())
    assert len(found) > 50
    wrong = {
        place: ast.unparse(value)
        for place, call in found.items()
        for value in call.args[1:]
        if IDENTIFIES.search(ast.unparse(value))
    }
    assert wrong == {}
