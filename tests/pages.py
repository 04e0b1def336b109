"""Code blocks of documentation pages."""

import re
from dataclasses import dataclass
from pathlib import Path

#: The line before a block, its language, and its code.
_BLOCK = re.compile(r"(?:^([^\n]*)\n\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: A line that names the file which the next block holds: "`parcels/tables.py`:".
_FILE = re.compile(r"`([^`]+)`:")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    language: str
    code: str
    #: The file that holds the code, where the page names one.
    file: str | None


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = _BLOCK.findall(page.read_text())
    assert len(found) == page.read_text().count("\n```") // 2, "a block was not found"
    return [
        Block(language, code, named[1] if (named := _FILE.fullmatch(before)) else None)
        for before, language, code in found
    ]
