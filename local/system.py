"""Describes the running local system (`var/run/system.json`), its folders, and its permanent
secrets.
"""

import base64
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from local.errors import LaunchError

ROOT = Path(__file__).parent.parent
VAR = ROOT / "var"
RUN = VAR / "run"
LOGS = VAR / "log"
MAIL = VAR / "mail"
DESCRIPTION = RUN / "system.json"


class Administrator(msgspec.Struct, frozen=True):
    email: str
    password: str


class System(msgspec.Struct, frozen=True):
    """Addresses and credentials of the running local system."""

    api: str
    metrics: list[str]
    postgres: str
    redis: str
    smtp: str
    mail_dir: str
    #: Address of the sandbox, which simulates the outside services. Its path `/sandbox/books` shows
    #: what it has recorded.
    sandbox: str
    admin: Administrator


class KeptSecrets(msgspec.Struct, frozen=True):
    """Secrets that are created once and must survive restarts, because stored data depends on
    them.
    """

    secret_key: str
    admin_password: str
    #: Keys that encrypt sensitive fields. A folder of an older release, which has none, gets new
    #: ones.
    vault_keys: str = msgspec.field(default_factory=lambda: f"local:{_random_key()}")
    #: Key that signs push messages. Replacing it would invalidate every push subscription.
    vapid_private_key: str = msgspec.field(default_factory=lambda: _random_vapid_key())


def read() -> System:
    """Read the description of the running system. Raises LaunchError if no system is running."""
    try:
        return msgspec.json.decode(DESCRIPTION.read_bytes(), type=System)
    except FileNotFoundError:
        raise LaunchError("No system runs here. Start one with `make run`, then try again.") from None


@contextmanager
def announced(system: System) -> Iterator[None]:
    """Write the description of the running system to a file, and delete the file when the context
    ends.
    """
    _write_private(DESCRIPTION, system)
    try:
        yield
    finally:
        DESCRIPTION.unlink(missing_ok=True)


@contextmanager
def locked() -> Iterator[None]:
    """Create the system's folders, and hold a lock on them inside this context. Raises LaunchError
    if another launcher holds the lock.
    """
    for folder in (RUN, LOGS, MAIL):
        folder.mkdir(parents=True, exist_ok=True)
    with (RUN / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read()
            raise LaunchError(
                f"The system runs already, as process {pid}. Stop it there with Ctrl-C, or: kill {pid}"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        DESCRIPTION.unlink(missing_ok=True)  # the file may be left behind by a launcher that was killed
        yield


def recall_secrets() -> KeptSecrets:
    """The permanent secrets of this clone of the project, which are created on the first call."""
    file = RUN / "secrets.json"
    if file.exists():
        kept = msgspec.json.decode(file.read_bytes(), type=KeptSecrets)
    else:
        kept = KeptSecrets(secret_key=secrets.token_urlsafe(48), admin_password=secrets.token_urlsafe(12))
    _write_private(file, kept)
    return kept


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _random_vapid_key() -> str:
    scalar = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return base64.urlsafe_b64encode(scalar.to_bytes(32, "big")).decode().rstrip("=")


def _write_private(file: Path, content: msgspec.Struct) -> None:
    unfinished = file.with_suffix(".begun")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
    unfinished.rename(file)
