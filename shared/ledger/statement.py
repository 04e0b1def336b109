"""Defines SQL statements with named placeholders."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Self

#: Matches a placeholder `:name` in an SQL text, but not the `::type` of a cast.
_NAME = re.compile(r"(?<![:\w]):([a-z][a-z0-9_]*)")


class Statement:
    """One SQL statement with placeholders of the form `:name`.

    A name that occurs several times stands for the same value. `sql` is the text in the driver's
    form, with `$1`, `$2`, … in the order of `names`.
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
        """Read a statement from a file of a package.

        Each `{name}` in the file is replaced by the argument with that name, a text that several
        statements share.
        """
        text = files(package).joinpath(file).read_text()
        for name, part in parts.items():
            text = text.replace(f"{{{name}}}", part)
        return cls(text)

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the values of the placeholders in the order of `names`.

        Raises TypeError if a value is missing or its name is unknown.
        """
        if given.keys() != set(self.names):
            raise TypeError(f"the statement takes {', '.join(self.names)}, not {', '.join(given)}")
        return [given[name] for name in self.names]
