"""The command `often`: finds a subcommand, runs it, and turns errors into exit codes."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click
from click.exceptions import Exit

from often_client.cli import buffered_output, help_page
from often_client.cli.access import Access
from often_client.cli.exit_codes import AWAY, DONE, INTERRUPTED, NOT_FOUND, REFUSED, USAGE, WRONG
from often_client.cli.text import plain
from often_client.errors import (
    ApiAway,
    ApiError,
    NotFound,
    NotSignedIn,
    OftenError,
    ServerError,
    UnexpectedAnswer,
)
from often_client.version import VERSION

SIGN_IN = "Run `often login`, or set OFTEN_TOKEN to an API key."


class Commands(click.RichGroup):
    """The group of all subcommands, which imports the module of a subcommand only when
    it is used.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in help_page.SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = help_page.place_of(cmd_name)
        if place is None:
            return None
        module, _, function = place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"often_client.cli.{module}"), function)
        return command

    def get_help(self, ctx: click.Context) -> str:
        return help_page.text()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand. If the reader of the output leaves early, as `head` does, the exit
        code is 0, where click would exit with 1.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Exit(DONE) from None


@click.group("often", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--api", envvar="OFTEN_API", metavar="URL", help="Address of the API.")
@click.option(
    "--profile", envvar="OFTEN_PROFILE", default="default", metavar="NAME", help="Login profile to use."
)
@click.option("--ca-file", envvar="OFTEN_CA_FILE", metavar="FILE", help="File with CA certificates to trust.")
@click.option("--proxy", envvar="OFTEN_PROXY", metavar="URL", help="Proxy to use.")
@click.version_option(VERSION, prog_name="often")
@click.pass_context
def often(
    context: click.Context, api: str | None, profile: str, ca_file: str | None, proxy: str | None
) -> None:
    """See and operate tasks of Often Tasks."""
    context.obj = Access(api, profile, ca_file=ca_file, proxy=proxy)
    context.call_on_close(context.obj.close)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. Errors are printed to stderr."""
    code = _run(arguments)
    buffered_output.finish()
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        code: object = often.main(list(arguments), prog_name="often", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except TimeoutError as error:
        return _fail(WRONG, str(error))
    except OftenError as error:
        return _fail(_code_of(error), f"{error}\n{SIGN_IN}" if isinstance(error, NotSignedIn) else str(error))
    return code if isinstance(code, int) else DONE


def _code_of(error: OftenError) -> int:
    match error:
        case ApiAway() | ServerError() | UnexpectedAnswer():
            return AWAY
        case ApiError(is_foreign=True):
            return AWAY
        case NotFound():
            return NOT_FOUND
        case _:
            return REFUSED


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"often: {plain(message, keep_lines=True)}\n")
    return code
