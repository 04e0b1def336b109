"""The Lua scripts of this package. Redis runs each of them atomically."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from shared.transport.keys import SYSTEM_KEY


class Script:
    """A Lua script: the text of `preamble.lua`, followed by one file."""

    def __init__(self, file: str) -> None:
        folder = files(__package__)
        self.text = folder.joinpath("preamble.lua").read_text() + folder.joinpath(file).read_text()
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, system: str, keys: Sequence[str], *arguments: Any) -> tuple[Any, ...]:
        """Build the Redis command that runs the script."""
        return ("EVALSHA", self._sha, len(keys) + 1, *keys, SYSTEM_KEY, *arguments, system)
