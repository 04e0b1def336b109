"""Tests of error fingerprints: failures with one cause have the same one, in every release and with
all values.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services.worker.running import fingerprint
from services.worker.running.fingerprint import Cause
from tests.hostile_tasks import Mute

#: Source of a module whose body calls a gateway, which calls a library. In two releases, the body
#: is at different lines.
BODY = """
from library import call
class Gateway:
    def post(self, value):
        try:
            call(value)
        except ValueError as error:
            raise RuntimeError(f"no answer to {value}") from error
def send(value):
    Gateway().post(value)
def charge(value):
    Gateway().post(value)
"""
LIBRARY = """
def call(value, depth=9):
    if depth:
        return call(value, depth - 1)
    raise ValueError(f"{value} is wrong")
"""


def module(path: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Write this source as a module in the folder, and import it."""
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{name}.py").write_text(text)
    spec = importlib.util.spec_from_file_location(name, path / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, made)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that imports the application's module with the source of one release."""
    module(tmp_path / "site-packages", "library", LIBRARY, monkeypatch)
    return lambda text: module(tmp_path, "parcels", text, monkeypatch)


def cause(raising: Callable[[], object], *, task: str = "mail.send", secrets: tuple[str, ...] = ()) -> Cause:
    try:
        raising()
    except BaseException as error:  # noqa: BLE001 - that is the point
        return fingerprint.of_error(task, "bug", error, f"{type(error).__name__}: {error!r}", secrets)
    raise AssertionError


def test_the_lines_of_a_release_and_the_values_of_a_task_do_not_matter(body: Callable[[str], Any]) -> None:
    first = cause(lambda: body(BODY).send(1))
    second = cause(lambda: body("# A line more.\n" + BODY).send("two"))
    assert first == second
    assert (first.type, first.place) == ("builtins.ValueError", "parcels:Gateway.post")
    assert first.fingerprint.startswith("v2:")


def test_the_task_the_caller_and_both_types_matter(body: Callable[[str], Any]) -> None:
    other = BODY.replace("RuntimeError", "OSError"), BODY.replace("ValueError", "Exception")
    causes = [
        cause(lambda: body(BODY).send(1)),
        cause(lambda: body(BODY).send(1), task="mail.other"),
        cause(lambda: body(BODY).charge(1)),
        cause(lambda: body(other[0]).send(1)),
        cause(lambda: body(BODY.replace(" from error", " from KeyError()")).send(1)),
    ]
    assert len({each.fingerprint for each in causes}) == len(causes)


def test_an_application_that_is_installed_beside_the_libraries_counts_as_the_project(
    body: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cause(lambda: body(BODY).send(1))
    installed = module(tmp_path / "site-packages", "parcels", BODY, monkeypatch)
    with pytest.raises(RuntimeError) as caught:
        installed.send(1)
    trace = caught.value.__traceback__
    assert trace is not None
    # Here the test calls the body, and not the platform. So the test's own frame is removed from
    # the traceback, because it would be taken for the body's.
    error = caught.value.with_traceback(trace.tb_next)
    found = fingerprint.of_error("mail.send", "bug", error, "", ())
    assert found.place == made.place == "parcels:Gateway.post"


def test_without_frames_of_the_project_the_message_counts_without_what_differs() -> None:
    def of(message: str) -> str:
        return fingerprint.of_error("a.b", "bug", ValueError(), message, ()).fingerprint

    same = [
        "Row 17 of 'Ann' (id 0199-ab3f) is locked",
        "Row 4 of 'Bo B.' (id 8f1e) is locked",
    ]
    assert of(same[0]) == of(same[1]) != of("Row 4 of 'Ann' (id 1) is gone")
    assert fingerprint.of_message("a.b", "bug", same[0]) == fingerprint.of_message("a.b", "bug", same[1])


def test_a_body_may_name_the_group_and_no_secret_gets_into_it() -> None:
    class Named(Exception):
        def __init__(self, name: object) -> None:
            self.fingerprint = name

    def raising(name: object) -> Callable[[], object]:
        def body() -> object:
            raise Named(name)

        return body

    plain = cause(raising("card of 4242 declined"), secrets=("4242",)).fingerprint
    assert plain == cause(raising("card of [hidden] declined")).fingerprint
    assert plain != cause(raising("card of 4343 declined")).fingerprint
    assert cause(raising(7)) == cause(raising("  "))


def test_the_first_of_a_group_of_errors_is_its_root_and_a_circle_of_causes_ends() -> None:
    def group() -> None:
        raise ExceptionGroup("two", [KeyError("a"), ValueError("b")])

    assert cause(group).type == "builtins.KeyError"
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert fingerprint.of_error("a.b", "bug", first, "a", ()).type == "builtins.ValueError"


def test_an_error_whose_attributes_raise_has_a_fingerprint_all_the_same() -> None:
    class Rude(Mute):
        @property
        def fingerprint(self) -> str:
            raise RuntimeError

    made = fingerprint.of_error("a.b", "bug", Rude(), "rude", ())
    assert made == fingerprint.of_message("a.b", "bug", "rude")
