"""Stores the API key of `often login` in a file that only its owner can read. Such a file is a
profile.
"""

import contextlib
import os
import re
import stat
from pathlib import Path
from uuid import UUID

import msgspec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")


class Profile(msgspec.Struct):
    api: str
    email: str
    key_id: UUID
    key: str
    expires_at: str


def folder() -> Path:
    """The folder of the profile files: in $XDG_STATE_HOME, in %LOCALAPPDATA% on Windows, or else in
    ~/.local/state.
    """
    given = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(given) if given else Path.home() / ".local" / "state") / "often"


def path(name: str) -> Path:
    """The path of a profile's file. Raises ValueError for a name that cannot be a file name."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "The name of a profile consists of 1 to 50 letters, digits, hyphens and underscores."
        )
    return folder() / f"{name}.json"


def read(name: str) -> Profile | None:
    """Read a stored profile; None if there is none or if it cannot be read."""
    try:
        return msgspec.json.decode(path(name).read_bytes(), type=Profile)
    except (OSError, msgspec.MsgspecError):
        return None


def mode(name: str) -> int:
    """The permission bits of a profile's file. Raises FileNotFoundError."""
    return stat.S_IMODE(path(name).stat().st_mode)


def is_private(mode: int) -> bool:
    """Whether a file with these permission bits can be read by its owner only. Always true on
    Windows, which does not use them.
    """
    return os.name == "nt" or not mode & 0o077


def write(name: str, profile: Profile) -> Path:
    """Replace the file of a profile atomically. Other users of the machine can never read it."""
    target = path(name)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = target.with_suffix(f".{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(profile))
    new.replace(target)
    return target


def forget(name: str) -> bool:
    """Delete a profile's file. Returns False if there was none."""
    try:
        path(name).unlink()
    except FileNotFoundError:
        return False
    return True
