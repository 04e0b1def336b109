"""Picks out of requirements.lock what some groups of pyproject.toml need, hashes included.

`python deploy/lock.py dependencies worker`; the images install nothing else. A group is `dependencies`,
`build-system` or the name of an extra. What needs what stands in the `# via` comments of pip-compile.
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
    """One package of the lock."""

    text: str
    #: The packages because of which it is there.
    via: frozenset[str]

    @property
    def version(self) -> str:
        """The locked version."""
        version: str = _VERSION.findall(self.text)[0]
        return version


def read(lock: str) -> dict[str, Entry]:
    """The packages by name."""
    texts = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    return {name_of(text): Entry(text, frozenset(_VIA.findall(text))) for text in texts}


def select(entries: dict[str, Entry], roots: Iterable[str]) -> str:
    """The part of the lock that the packages `roots` need. Raises LookupError for one that is not in it."""
    kept: set[str] = set()
    found = {name_of(root) for root in roots}
    if missing := found - entries.keys():
        raise LookupError(f"{', '.join(sorted(missing))} is not in the lock: run `make lock`")
    while found:
        kept |= found
        found = {name for name, entry in entries.items() if name not in kept and entry.via & kept}
    return "".join(entry.text for name, entry in entries.items() if name in kept)


def roots(pyproject: str, groups: Iterable[str]) -> list[str]:
    """What the project itself asks for in these groups."""
    content = tomllib.loads(pyproject)
    project = content["project"]
    by_group = {
        "dependencies": project["dependencies"],
        "build-system": content["build-system"]["requires"],
        **project["optional-dependencies"],
    }
    return [needed for group in groups for needed in by_group[group]]


def name_of(requirement: str) -> str:
    """Of a requirement such as `redis[hiredis]>=7`, as the lock writes it."""
    match = _NAME.match(requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def main(*groups: str) -> None:
    wanted = roots(Path("pyproject.toml").read_text(), groups)
    sys.stdout.write(select(read(Path("requirements.lock").read_text()), wanted))


if __name__ == "__main__":
    main(*sys.argv[1:])
