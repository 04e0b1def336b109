"""SQL with named parameters."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Self

#: `:name`, but not the `::type` of a cast.
_NAME = re.compile(r"(?<![:\w]):([a-z][a-z0-9_]*)")


class Statement:
    """One SQL statement; `:name` stands for a value, and the same name for the same value.

    `sql` is what the driver takes: `$1`, `$2`, … in the order of `names`.
    """

    __slots__ = ("names", "sql")

    def __init__(self, text: str) -> None:
        names: dict[str, int] = {}

        def numbered(found: re.Match[str]) -> str:
            return f"${names.setdefault(found[1], len(names) + 1)}"

        self.sql = _NAME.sub(numbered, text)
        self.names = tuple(names)

    @classmethod
    def from_file(cls, package: str, file: str, **parts: str) -> Self:
        """The statement in a file of a package. A text that statements share replaces `{part}` in it."""
        text = files(package).joinpath(file).read_text()
        for name, part in parts.items():
            text = text.replace(f"{{{name}}}", part)
        return cls(text)

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """The values in the order of `names`. Raises TypeError when one is missing or unknown."""
        if given.keys() != set(self.names):
            raise TypeError(f"the statement takes {', '.join(self.names)}, not {', '.join(given)}")
        return [given[name] for name in self.names]
