"""Writes docs/command_line.md from the commands of `often`: `python -m tools.command_line_page`."""

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from often_client.cli import help_page
from often_client.cli.often import often

PAGE = Path(__file__).parent.parent / "docs" / "command_line.md"
WIDTH = 100

HEAD = """\
<!-- Written by `python -m tools.command_line_page` from the commands: do not edit it. -->

# The command line

After this page you can submit and follow tasks, and see and operate the platform, from a terminal
and from scripts. [Submit and follow tasks](#submit-and-follow-tasks) ·
[steer tasks and workflows](#steer-tasks-and-workflows) ·
[operate queues, workers and schedules](#operate-queues-workers-and-schedules) ·
[look into the system](#look-into-the-system) · [set up](#set-up)

```sh
pip install './clients/python[cli]'      # a checkout has it already: .venv/bin/often
often --api http://127.0.0.1:8000 login  # asks for the password once, and keeps an API key
often status
often tasks --status failure --created-after 2h
often retry $(often tasks --status failure --name email.send_welcome | cut -f1)
often submit email.send_welcome user_id=7 --wait
often task 01a22c87-fc16-7070-9093-be347aed9f5d --follow
often pause payments --reason 'the provider is down'
often reproduce 01a22c87-8a58-77f8-8e18-364b3e98869e --pdb
```

**Signing in.** `often login` exchanges the password for an API key, which is valid for 90 days. The
key is kept in a file that only you can read: `often/default.json` in the state folder
(`$XDG_STATE_HOME`, or `~/.local/state`). With `--profile` you can keep several. In scripts, set
`OFTEN_API` and `OFTEN_TOKEN` instead; they take precedence over the file. If something does not
work, `often doctor` says what, and what to do next.

**Network.** If your own authority has signed the API's certificate, name the authority's
certificate with `--ca-file` or `OFTEN_CA_FILE`. A proxy is used only if `--proxy` or `OFTEN_PROXY`
names it.

**Output.** On a terminal, lists are tables that fit its width. Elsewhere they are tab-separated
values without a heading. `--json` prints one object per line, with the field names of
[the API](api.md). Messages for people go to standard error. Control characters in names and errors
are shown as `\\x1b`, and never reach the terminal. `NO_COLOR` disables colors.

**Ids** may be links: `often task https://tasks.example/console/tasks/01a22c87-...` works.

**Times** are written as `2026-11-30T08:00Z`, or as a duration such as `30m`, `2h` or `1d`. In a
filter, a duration counts back from now. In `--at`, `--expires` and `--until` of `often error`, it
counts ahead.

**Values** in `KEY=VALUE` are read as JSON, or as text if they are not JSON. Dots lead into objects:
`place.city=Pune`.

**Several ids.** `retry`, `cancel`, `wait` and similar commands go on after a refusal, and exit with
its code. If the API goes away in between, they print what was done and what was not.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | something is wrong: a task failed, a problem is critical, a check of `doctor` failed |
| 2 | the command has an error |
| 3 | the API refused; the message says why and what to do |
| 4 | the object does not exist |
| 5 | the API does not answer, or something else answers in its place |
| 130, 143 | Ctrl-C, and SIGTERM for `often top` |

A reader that leaves early, as in `often tasks | head -1`, is not an error.
"""


def page() -> str:
    """The text of the whole page `docs/command_line.md`."""
    return "\n".join(
        [HEAD, *(_section(name, list(commands)) for name, commands in help_page.SECTIONS.items())]
    )


def _section(heading: str, names: list[str]) -> str:
    context = click.Context(often, info_name="often")
    parts = [f"## {heading}", ""]
    for name in names:
        command = often.get_command(context, name)
        assert command is not None, name
        parts += _command(command, click.Context(command, context, info_name=name))
    return "\n".join(parts)


def _command(command: click.Command, context: click.Context, level: str = "###") -> Iterator[str]:
    """Markdown for a command. For a group, its commands follow with headings one level below it."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"{level} `{usage}`", "", _wrapped(inspect.cleandoc(command.help or "")), "")
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from _command(each, click.Context(each, context, info_name=name), f"{level}#")
        return
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        yield from (*(_option(each, context) for each in options), "")


def _option(option: click.Option, context: click.Context) -> str:
    metavar = "" if option.is_flag else f" {_metavar(option, context)}"
    default = f" Default: {option.default}." if option.show_default and option.default is not None else ""
    several = " May be given several times." if option.multiple else ""
    needed = " Required." if option.required else ""
    text = f"`{option.opts[0]}{metavar}`: {option.help}{default}{several}{needed}"
    return textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def _metavar(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    if isinstance(option.type, click.IntRange | click.FloatRange):
        return option.metavar or "NUMBER"
    return option.make_metavar(context)


def _wrapped(text: str) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        textwrap.fill(" ".join(each.split()), WIDTH, break_on_hyphens=False) for each in paragraphs
    )


if __name__ == "__main__":
    PAGE.write_text(page())
