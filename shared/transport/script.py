"""Files of this package that Redis runs as one step each."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from shared.transport.keys import SYSTEM_KEY


class Script:
    """One file, after `preamble.lua`."""

    def __init__(self, file: str) -> None:
        folder = files(__package__)
        self.text = folder.joinpath("preamble.lua").read_text() + folder.joinpath(file).read_text()
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, system: str, keys: Sequence[str], *arguments: Any) -> tuple[Any, ...]:
        """The command that runs it."""
        return ("EVALSHA", self._sha, len(keys) + 1, *keys, SYSTEM_KEY, *arguments, system)
