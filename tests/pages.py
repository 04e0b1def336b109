"""Helpers for tests that read the code blocks of documentation pages."""

import re
from dataclasses import dataclass
from pathlib import Path

#: Matches a fenced code block: the line before it, its language, and its code.
_BLOCK = re.compile(r"(?:^([^\n]*)\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: Matches a line before a block that names the block's file, such as "`parcels/tables.py`:".
_FILE = re.compile(r"`([^`]+)`:")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block on a documentation page."""

    language: str
    code: str
    #: Path of the file with this code, if the page names one.
    file: str | None


def blocks(page: Path) -> list[Block]:
    """All fenced code blocks of a page, in their order."""
    found = _BLOCK.findall(page.read_text())
    assert len(found) == page.read_text().count("\n```") // 2, "a block was not found"
    return [
        Block(language, code, named[1] if (named := _FILE.fullmatch(before)) else None)
        for before, language, code in found
    ]
