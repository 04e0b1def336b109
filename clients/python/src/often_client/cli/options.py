"""Options and argument types that several commands share."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import msgspec
import rich_click as click
from click import Context, Parameter
from click.exceptions import Exit

from often_client.cli.access import Access
from often_client.cli.exit_codes import WRONG
from often_client.cli.output import note
from often_client.cli.text import plain

#: Largest page that the API returns for a list.
MAX_PAGE_SIZE = 100

pass_access = click.make_pass_decorator(Access)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
reason = click.option("--reason", help="Reason, for the audit log.")
limit = click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of items to list."
)
delay = click.option(
    "--delay", "delay_s", type=click.FloatRange(0), metavar="SECONDS", help="Start after this many seconds."
)
yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_AGO = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|min|h|d)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


class Id(click.ParamType[UUID]):
    """Type of an argument that is an id, or a link that ends with an id."""

    name = "id"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> UUID:
        if isinstance(value, UUID):
            return value
        found = _UUID.findall(value)
        if not found:
            self.fail("must be an id, 36 characters long, or a link that ends with one", param, ctx)
        return UUID(found[-1])


class Moment(click.ParamType[datetime]):
    """Type of an argument that is a time, or a duration before now. With `ahead`, the duration is
    after now.
    """

    name = "time"

    def __init__(self, *, ahead: bool = False) -> None:
        self._sign = 1 if ahead else -1

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) + self._sign * timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
        try:
            given = datetime.fromisoformat(value)
        except ValueError:
            self.fail("must be a time such as 2026-11-30T08:00Z, or a duration such as 30m or 2h", param, ctx)
        return given if given.tzinfo else given.astimezone()


class Pair(click.ParamType[tuple[str, Any]]):
    """Type of an argument `key=value`. The value is parsed as JSON, or taken as text if it is not
    JSON.
    """

    name = "key=value"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        key, sign, given = value.partition("=")
        if not key or not sign:
            self.fail(f"{value!r} must have the form key=value", param, ctx)
        return key, _value(given)


ids = click.argument("ids", type=Id(), nargs=-1, required=True, metavar="ID...")


def page_size(limit: int) -> int:
    """The page size with which to request a list of which `limit` items are shown."""
    return min(limit, MAX_PAGE_SIZE)


def end(code: int) -> NoReturn:
    """End the command with this exit code."""
    raise Exit(code)


def nested(pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Turn dotted keys into nested objects: `place.city=Pune` becomes {"place": {"city": "Pune"}}.

    Raises UsageError if two keys conflict.
    """
    built: dict[str, Any] = {}
    for key, value in pairs:
        *outer, last = key.split(".")
        inner = built
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise click.UsageError(
                    f"{key} conflicts with another parameter: give an object or its fields, not both"
                )
        inner[last] = value
    return built


def params_of(pairs: tuple[tuple[str, Any], ...], file: str | None) -> dict[str, Any]:
    """Read parameters from a JSON file (`-` is stdin), and let the `key=value` pairs override some
    of them.

    Raises UsageError.
    """
    if file is None:
        return nested(pairs)
    try:
        with click.open_file(file, "rb") as opened:
            params = msgspec.json.decode(opened.read())
    except (OSError, msgspec.DecodeError) as error:
        raise click.UsageError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(params, dict):
        raise click.UsageError(f"{file} must contain a JSON object with the parameters")
    return params | nested(pairs)


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask the user on the terminal to confirm. If the user says no, the command ends with exit code
    1.

    Without a terminal, it raises UsageError unless `--yes` was given. The question goes to stderr,
    because stdout may be piped; click.confirm would write to both.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Add --yes to do it.")
    sys.stderr.write(f"{plain(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        note("Nothing was done.")
        end(WRONG)


def _value(given: str) -> Any:
    try:
        return msgspec.json.decode(given)
    except msgspec.DecodeError:
        return given
