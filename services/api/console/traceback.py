"""Parses a stored traceback, so that pages show frames of the task's own code and fold frames of
libraries.

Text that it cannot parse is kept unchanged.
"""

import re
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

_BEGIN: Final = "Traceback (most recent call last):"
_FRAME: Final = re.compile(r'  File "(.+)", line (\d+)(?:, in (.+))?')
#: Parts of file paths outside the tasks' own code: libraries, Python itself, and the code that runs
#: task bodies.
_FOREIGN: Final = ("/site-packages/", "/lib/python", "<frozen ", "/services/worker/running/")
#: First words of the lines that separate two tracebacks of a chain of exceptions.
_LINKS: Final = ("The above exception was", "During handling of the above exception")


@dataclass(slots=True)
class Frame:
    file: str
    line: int
    function: str
    code: str = ""

    @property
    def is_ours(self) -> bool:
        return not any(part in self.file for part in _FOREIGN)

    @property
    def place(self) -> str:
        """The path of a source file without the leading part that most files have in common."""
        for part in ("/site-packages/", "/lib/python"):
            if part in self.file:
                return self.file.rpartition(part)[2]
        return "/".join(self.file.split("/")[-4:])


@dataclass(slots=True)
class Group:
    """Consecutive frames of a traceback, either all from the task's own code or all from other
    code.
    """

    is_ours: bool
    frames: list[Frame]


@dataclass(slots=True)
class Raised:
    """One error in a chain of exceptions, with its frames."""

    frames: list[Frame] = field(default_factory=list)
    message: str = ""

    @property
    def groups(self) -> list[Group]:
        return [
            Group(is_ours, list(frames))
            for is_ours, frames in groupby(self.frames, lambda each: each.is_ours)
        ]


def read(text: str) -> list[Raised]:
    """Parse the errors of a chain of exceptions; the error that was raised last comes first. Empty
    if the text is not a traceback.
    """
    chain: list[Raised] = []
    for line in text.splitlines():
        if line == _BEGIN:
            chain.append(Raised())
        elif chain:
            _take(chain[-1], line)
    return chain[::-1]


def place(text: str | None) -> str:
    """Find the place in the task's own code that raised the error, such as
    `services/worker/tasks/email.py:61 send`. Empty if unknown.
    """
    chain = read(text or "")
    ours = [frame for frame in chain[0].frames if frame.is_ours] if chain else []
    return f"{ours[-1].place}:{ours[-1].line} {ours[-1].function}" if ours else ""


def _take(raised: Raised, line: str) -> None:
    found = _FRAME.fullmatch(line)
    if found is not None and not raised.message:
        raised.frames.append(Frame(found[1], int(found[2]), found[3] or ""))
    elif line.startswith("    ") and raised.frames and not raised.message:
        # Only the first line below a frame is code. A second line contains markers such as `^^^^`.
        if not raised.frames[-1].code:
            raised.frames[-1].code = line.strip()
    elif line and not line.startswith(_LINKS):
        raised.message = f"{raised.message}\n{line}".strip("\n")
