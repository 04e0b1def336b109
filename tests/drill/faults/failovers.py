"""Faults of the drill: Redis fails over to another server. Clients find the new primary behind a
fixed address or through Sentinels.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from local.valkey import HOST, Valkey
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.network import Network
from tests.eventually import eventually
from tests.own_valkey import Forwarder, Watched, replicate, serving, watched_pair, with_password

#: Promised seconds of recovery. The new primary may lack the last writes of the old one, so this is
#: the time limit for finding lost ids.
PROMISED_S = 60.0
#: Seconds between the failover and the second one, back to the first server.
BETWEEN_S = 5.0
FAIL_OVER_LIMIT_S = 60.0
SENTINELS = 3


@dataclass(frozen=True, kw_only=True)
class Behind(Network):
    """A network in which two Valkey servers are reached through one fixed address."""

    forwarder: Forwarder
    servers: tuple[Valkey, Valkey]

    def fail_over(self, old: Valkey, new: Valkey) -> None:
        """Promote `new` to primary, and make `old` its replica. Open connections keep leading to
        the old primary, while new connections lead to the new one.
        """
        with redis.Redis.from_url(self._url(new)) as client:
            client.replicaof("NO", "ONE")
        self.forwarder.server = new
        with redis.Redis.from_url(self._url(old)) as client:
            client.replicaof(HOST, str(new.port))

    async def catches_up(self, replica: Valkey) -> None:
        with redis.Redis.from_url(self._url(replica)) as client:
            await eventually(lambda: client.info("replication").get("master_link_status") == "up")

    def _url(self, server: Valkey) -> str:
        return with_password(server, self.servers[0])


@asynccontextmanager
async def behind_one_address(database_url: str, _: str, folder: Path) -> AsyncIterator[Behind]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serving(folder / "first"))
        second = await stack.enter_async_context(serving(folder / "second"))
        await replicate(first, second)
        forwarder = Forwarder(first)
        url = await stack.enter_async_context(forwarder.serving())
        yield Behind(database_url=database_url, redis_url=url, forwarder=forwarder, servers=(first, second))


@fault(
    "Redis fails over and back, old connections are kept", promised_s=PROMISED_S, network=behind_one_address
)
async def redis_failover(crew: Crew) -> None:
    network = crew.network
    assert isinstance(network, Behind)
    first, second = network.servers
    network.fail_over(first, second)
    await asyncio.sleep(BETWEEN_S)
    await network.catches_up(first)
    network.fail_over(second, first)


@dataclass(frozen=True, kw_only=True)
class BySentinels(Network):
    """A network in which Sentinels watch two Valkey servers and name the primary."""

    pair: Watched
    #: Process ids of the two Valkey servers, by port.
    processes: dict[int, int]

    @contextmanager
    def frozen(self, port: int) -> Iterator[None]:
        os.kill(self.processes[port], signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.processes[port], signal.SIGCONT)


@asynccontextmanager
async def by_sentinels(database_url: str, _: str, folder: Path) -> AsyncIterator[BySentinels]:
    async with (
        serving(folder / "primary") as primary,
        watched_pair(primary, folder, sentinels=SENTINELS) as pair,
    ):
        processes = {}
        for port in (pair.primary, pair.replica):
            with redis.Redis.from_url(primary.url().replace(f":{primary.port}/", f":{port}/")) as client:
                processes[port] = client.info("server")["process_id"]
        yield BySentinels(database_url=database_url, redis_url=pair.url, pair=pair, processes=processes)


@fault(
    f"the primary of {SENTINELS} Sentinels is frozen, the next one killed",
    promised_s=PROMISED_S,
    network=by_sentinels,
)
async def sentinel_failover(crew: Crew) -> None:
    network = crew.network
    assert isinstance(network, BySentinels)
    pair = network.pair
    with network.frozen(pair.primary):
        await eventually(lambda: pair.leads(pair.replica), FAIL_OVER_LIMIT_S)
    await eventually(lambda: pair.has_replica(), FAIL_OVER_LIMIT_S)
    os.kill(network.processes[pair.replica], signal.SIGKILL)
    await eventually(lambda: pair.leads(pair.primary), FAIL_OVER_LIMIT_S)


FAULTS = (redis_failover, sentinel_failover)
