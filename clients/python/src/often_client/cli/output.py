"""Prints lists: as a table on a terminal, as tab-separated values elsewhere, or as JSON lines."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from often_client.cli.text import cell, json_line, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Maximum width of a table column, except for columns of long texts.
MAX_FIXED = 48
#: Minimum width of a table column of long texts. If there is less room, the column is left out.
MIN_LONG = 8
#: Number of spaces between two table columns.
GAP = 2
#: Symbol and style with which each state is printed.
SIGNS = {
    "success": ("✓", "green"),
    "ok": ("✓", "green"),
    "running": ("▶", "blue"),
    "failure": ("✕", "red"),
    "critical": ("✕", "red"),
    "crashed": ("✕", "red"),
    "dead": ("✕", "red"),
    "started": ("▶", "blue"),
    "retry": ("↻", "yellow"),
    "warning": ("!", "yellow"),
    "interrupted": ("↻", "yellow"),
    "pending": ("○", ""),
    "notice": ("·", ""),
    "revoked": ("⊘", "dim"),
    "paused": ("⏸", "yellow"),
    "draining": ("⊘", "yellow"),
    "quiet": ("⏸", "yellow"),
    "stopped": ("⊘", "dim"),
}


#: The kind of a column, which decides how its values are printed. If there is little room, columns
#: of the kind "long" are shortened first.
Kind: TypeAlias = Literal["text", "state", "time", "seconds", "number", "long"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, and a function that reads its value from an item."""

    title: str
    value: Callable[[Any], Any]
    kind: Kind = "text"

    @property
    def is_number(self) -> bool:
        return self.kind in ("seconds", "number")


def show(items: Iterable[Any], columns: Sequence[Column], *, as_json: bool, empty: str) -> None:
    """Print a list. If the list is empty, `empty` is printed instead, on a terminal only."""
    if as_json:
        for item in items:
            print_json(item)
    elif sys.stdout.isatty():
        _table(list(items), columns, empty)
    else:
        for item in items:
            line("\t".join(_raw(column.value(item)) for column in columns))


def print_json(item: Any) -> None:
    """Print an object as JSON on one line, with the API's field names."""
    line(json_line(msgspec.json.encode(item)))


def line(words: str = "") -> None:
    """Print one line of text to stdout."""
    sys.stdout.write(f"{words}\n")


def flush() -> None:
    """Flush stdout, so that the reader of a pipe sees the output now. Python otherwise buffers up
    to 8 KB.
    """
    sys.stdout.flush()


def note(words: str) -> None:
    """Print a message for people to stderr, so that scripts that read stdout do not get it."""
    sys.stderr.write(f"{plain(words, keep_lines=True)}\n")


def console() -> "Console":
    from rich.console import Console  # noqa: PLC0415 - takes 50 ms, which piped commands do not need

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def age(moment: datetime | None) -> str:
    """How long ago a time was, or how long it takes until then, as text."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def duration(seconds: float | None) -> str:
    """A duration as text with one unit, such as 75 s or 3.1 h."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, size, limit in (("s", 1, 120), ("min", 60, 120), ("h", 3_600, 48)):
        if seconds < size * limit:
            return f"{seconds / size:.{1 if seconds < 10 else 0}f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _table(items: Sequence[Any], columns: Sequence[Column], empty: str) -> None:
    if items:
        console().print(table(items, columns))
    else:
        console().print(empty, style="dim")


def table(items: Iterable[Any], columns: Sequence[Column]) -> "Table":
    """Build a table that fits the width of the terminal.

    Columns of long texts share the room that the other columns leave. If there is no room, the last
    columns are left out, one after the other.
    """
    from rich.table import Table  # noqa: PLC0415

    grid = Table(box=None, pad_edge=False, header_style="bold")
    rows = [[rendered(column.value(item), column.kind) for column in columns] for item in items]
    widths = _widths(columns, rows, console().width)
    for column, width in zip(columns, widths, strict=True):
        if width:
            justify: Literal["left", "right"] = "right" if column.is_number else "left"
            grid.add_column(column.title, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        grid.add_row(*(text for text, width in zip(row, widths, strict=True) if width))
    return grid


def _widths(columns: Sequence[Column], rows: Sequence[Sequence["Text"]], width: int) -> list[int]:
    """The width of each table column; 0 means that the column is left out."""
    needed = [
        max([len(column.title), *(row[number].cell_len for row in rows)])
        for number, column in enumerate(columns)
    ]
    pairs = zip(columns, needed, strict=True)
    fixed = [0 if column.kind == "long" else min(each, MAX_FIXED) for column, each in pairs]
    for number in reversed(range(1, len(fixed))):
        if _total(fixed) > width:
            fixed[number] = 0
    left = width - sum(fixed) - GAP * (len(columns) - 1)
    long = sorted((n for n, column in enumerate(columns) if column.kind == "long"), key=needed.__getitem__)
    for done, number in enumerate(long):
        # Columns with shorter texts come first, so that longer texts get the room that short ones
        # do not need.
        share = left // (len(long) - done)
        fixed[number] = min(needed[number], share) if share >= MIN_LONG else 0
        left -= fixed[number]
    return fixed


def _total(widths: Sequence[int]) -> int:
    """The total width of a table row with columns of these widths."""
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1)


def rendered(value: Any, kind: Kind) -> "Text":
    """Render a value as a table cell. Text from outside is never interpreted as markup."""
    from rich.text import Text  # noqa: PLC0415

    match kind, value:
        case _, None:
            return Text("-", style="dim")
        case "state", str():
            sign, style = SIGNS.get(value, ("", ""))
            return Text(f"{sign} {cell(value)}".strip(), style=style)
        case "time", datetime():
            return Text(age(value))
        case "seconds", int() | float():
            return Text(duration(value))
        case "number", int():
            return Text(f"{value:,}")
        case _:
            return Text(cell(_raw(value)))


def _raw(value: Any) -> str:
    """Format a value as a field of a tab-separated line."""
    if value is None:
        return ""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | dict):
        return plain(json_line(msgspec.json.encode(value)))
    built: object = msgspec.to_builtins(value)
    return plain(str(built).lower() if isinstance(built, bool) else built)
