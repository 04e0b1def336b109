"""Formats tasks as CSV or as JSON lines.

This module does no I/O.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from services.api.tasks.schemas import TaskAnswer

#: Columns of the CSV file: all fields of a task in a list, except `task_id`, which repeats `id`,
#: and the traceback.
COLUMNS: Final = tuple(
    name for name in TaskAnswer.__struct_fields__ if name not in ("task_id", "error_traceback")
)
#: Spreadsheets interpret text that begins with one of these characters as a formula, even after
#: spaces.
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CONTROLS: Final = ("\t", "\r", "\n")


class Format(NamedTuple):
    """A file format of an export: how tasks are written."""

    #: The extension of the file's name.
    suffix: str
    media_type: str
    head: bytes
    tasks: Callable[[Iterable[TaskAnswer]], bytes]
    #: Formats the last line of an incomplete export from the reason why it ends, and the address of
    #: the rest.
    cut: Callable[[str, str], bytes]


def _rows(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _as_row(task: TaskAnswer) -> list[str]:
    values = msgspec.to_builtins(task)
    return [_cell(values[name]) for name in COLUMNS]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _harmless(value)
    return "" if value is None else msgspec.json.encode(value).decode()


def _harmless(text: str) -> str:
    """Add an apostrophe to a text that spreadsheets would interpret as a formula. Source: OWASP,
    CSV Injection.
    """
    is_formula = text.startswith(_CONTROLS) or text.lstrip().startswith(_FORMULA)
    return f"'{text}" if is_formula else text


CSV: Final = Format(
    suffix="csv",
    media_type="text/csv",
    head=_rows([COLUMNS]),
    tasks=lambda tasks: _rows(map(_as_row, tasks)),
    cut=lambda why, rest: _rows([[f"Not complete: {why}. The rest: {rest}"]]),
)
_JSON: Final = msgspec.json.Encoder()
JSON_LINES: Final = Format(
    suffix="jsonl",
    media_type="application/jsonl",
    head=b"",
    tasks=_JSON.encode_lines,
    cut=lambda why, rest: _JSON.encode_lines([{"complete": False, "why": why, "rest": rest}]),
)
