"""Tests of the command line without an API: its help, its documentation page, what it reads, and
how it writes.
"""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from often_client.cli import help_page, reproduce
from often_client.cli.often import often
from often_client.cli.options import Id, Pair, nested
from often_client.cli.output import duration
from often_client.cli.text import MAX_CELL, cell, json_line, plain
from tests.platform import ROOT
from tools import command_line_page

SOURCE = str(ROOT / "clients/python/src")
#: A text with control sequences that clear the screen or reverse the direction of text, and with an
#: 8-bit control character.
HOSTILE = "\x1b[2J\u202egnp.exe\x9b31m"


def test_the_page_is_what_the_commands_say() -> None:
    assert command_line_page.PAGE.read_text() == command_line_page.page(), (
        "run `python -m tools.command_line_page`"
    )


def test_the_help_says_what_the_commands_say() -> None:
    context = click.Context(often)
    for commands in help_page.SECTIONS.values():
        for name, (_, what) in commands.items():
            command = often.get_command(context, name)
            assert command is not None
            assert (command.name, (command.help or "").splitlines()[0]) == (name, what)


@pytest.mark.parametrize(("shell", "word"), [("bash", "1"), ("zsh", "1"), ("fish", "re")])
def test_a_shell_completes_the_names_of_commands(shell: str, word: str) -> None:
    # bash and zsh send the index of the word to complete, and fish sends its text.
    asked = {"_OFTEN_COMPLETE": f"{shell}_complete", "COMP_WORDS": "often re", "COMP_CWORD": word}
    found = re.findall(r"\b(retry|resume|release|recycle|reproduce|cancel)\b(?=\t|$)", often_in(asked), re.M)
    assert found == ["retry", "release", "resume", "recycle", "reproduce"]


def test_the_script_for_bash_completes_the_names_of_commands(tmp_path: Path) -> None:
    command = tmp_path / "often"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m often_client "$@"\n')
    command.chmod(0o755)
    complete = (
        'eval "$(often completion bash)"; COMP_WORDS=(often re); COMP_CWORD=1;'
        ' _often_completion often; echo "${COMPREPLY[@]}"'
    )
    environment = {"PYTHONPATH": SOURCE, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "-c", complete], env=environment, capture_output=True, text=True)
    assert shown.stdout.split() == ["retry", "release", "resume", "recycle", "reproduce"], shown.stderr


def often_in(environment: dict[str, str]) -> str:
    """Run `often` without arguments, and return what it prints."""
    command = [sys.executable, "-m", "often_client"]
    ran = subprocess.run(
        command, env={"PYTHONPATH": SOURCE, **environment}, capture_output=True, text=True, check=True
    )
    return ran.stdout


def test_the_help_takes_at_most_three_times_what_an_empty_program_takes() -> None:
    empty = min(processor_s("-c", "pass") for _ in range(5))
    shown = min(processor_s("-m", "often_client", "--help") for _ in range(5))
    assert shown <= 3 * empty


def processor_s(*arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    subprocess.run(command, env={"PYTHONPATH": SOURCE}, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    shown = "\\x1b[2J\\u202egnp.exe\\x9b31m"
    assert plain(HOSTILE) == shown
    assert plain(f"one\ntwo{HOSTILE}", keep_lines=True) == f"one\ntwo{shown}"
    assert plain("one\ntwo\t") == "one\\ntwo\\t"
    assert len(cell("x" * 10_000)) == MAX_CELL + 1
    assert json_line('{"name":"\u202e\x9b"}'.encode()) == '{"name":"\\u202e\\u009b"}'


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("user_id=7", ("user_id", 7)),
        ('code="7"', ("code", "7")),
        ("name=Asha Rao", ("name", "Asha Rao")),
        ("formula=a=b", ("formula", "a=b")),
        ("list=[1,2]", ("list", [1, 2])),
    ],
)
def test_a_value_is_json_or_text(given: str, read: tuple[str, Any]) -> None:
    assert Pair().convert(given, None, None) == read


def test_dots_lead_into_objects() -> None:
    assert nested((("place.city", "Pune"), ("place.zip", 1), ("x", 2))) == {
        "place": {"city": "Pune", "zip": 1},
        "x": 2,
    }
    with pytest.raises(click.UsageError, match="conflicts"):
        nested((("place", 1), ("place.city", "Pune")))


def test_an_id_may_be_a_link() -> None:
    link = "https://host/console/workflows/01a22c88-b1fd-7efa-a711-b1505ec01d5d"
    assert str(Id().convert(link, None, None)) == link[-36:]
    with pytest.raises(click.BadParameter, match="must be an id"):
        Id().convert("7", None, None)


def test_masked_parameters_are_found_wherever_they_are() -> None:
    params = {"a": [{"b": "[hidden]"}], "c": "[unreadable]", "d": "hidden"}
    assert reproduce.masked(params) == {"params.a[0].b", "params.c"}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.21, "210 ms"), (3.14, "3.1 s"), (75, "75 s"), (7_000, "117 min"), (200_000, "2 d")],
)
def test_a_duration_has_one_unit(seconds: float, said: str) -> None:
    assert duration(seconds) == said
