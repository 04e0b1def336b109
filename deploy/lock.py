"""Extracts from requirements.lock the packages that some groups of pyproject.toml need, with their
hashes.

`python deploy/lock.py dependencies worker` prints the packages of the worker's image. A group is
`dependencies`, `build-system` or the name of an extra. The `# via` comments that pip-compile writes
say which package needs which.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"==(\S+)")
_VIA = re.compile(r"^    #(?: via)? +([A-Za-z0-9][A-Za-z0-9._-]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """A package of the lock file, with its lines there."""

    text: str
    #: Names of the packages that require this package.
    via: frozenset[str]

    @property
    def version(self) -> str:
        """The version to which the package is locked."""
        version: str = _VERSION.findall(self.text)[0]
        return version


def read(lock: str) -> dict[str, Entry]:
    """Parse a lock file. Returns its packages by name."""
    texts = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    return {name_of(text): Entry(text, frozenset(_VIA.findall(text))) for text in texts}


def select(entries: dict[str, Entry], roots: Iterable[str]) -> str:
    """The part of the lock file for the packages `roots` and everything that they require.

    Raises LookupError if one of them is not in the lock file.
    """
    kept: set[str] = set()
    found = {name_of(root) for root in roots}
    if missing := found - entries.keys():
        raise LookupError(f"{', '.join(sorted(missing))} is not in the lock: run `make lock`")
    while found:
        kept |= found
        found = {name for name, entry in entries.items() if name not in kept and entry.via & kept}
    return "".join(entry.text for name, entry in entries.items() if name in kept)


def roots(pyproject: str, groups: Iterable[str]) -> list[str]:
    """The project's direct requirements in these groups of pyproject.toml."""
    content = tomllib.loads(pyproject)
    project = content["project"]
    by_group = {
        "dependencies": project["dependencies"],
        "build-system": content["build-system"]["requires"],
        **project["optional-dependencies"],
    }
    return [needed for group in groups for needed in by_group[group]]


def name_of(requirement: str) -> str:
    """The package name in a requirement such as `redis[hiredis]>=7`, spelled as in the
    lock file.
    """
    match = _NAME.match(requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def main(*groups: str) -> None:
    wanted = roots(Path("pyproject.toml").read_text(), groups)
    sys.stdout.write(select(read(Path("requirements.lock").read_text()), wanted))


if __name__ == "__main__":
    main(*sys.argv[1:])
