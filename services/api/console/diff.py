"""Computes a line-by-line diff of what an edit changes."""

import difflib
from typing import Any, NamedTuple

from services.api.console.formats import as_json


class Line(NamedTuple):
    #: Type of the line: "+" for an added line, "-" for a removed one, " " for an unchanged line.
    sign: str
    text: str


def lines(before: Any, after: Any, *, context: int = 3) -> list[Line]:
    """The lines that differ, with some unchanged lines around them. Empty if nothing differs."""
    compared = difflib.unified_diff(
        as_json(before).splitlines(), as_json(after).splitlines(), n=context, lineterm=""
    )
    return [Line(each[0], each[1:]) for each in list(compared)[2:] if each[0] in "+- "]
