"""Tests of connections to Redis that break, lead to a replica, or are found through a Sentinel."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from local import ports
from local.valkey import HOST, Valkey
from services.api.identity.counting import CountingRedis
from services.api.identity.rate_limits import RateLimits
from shared.errors import ServerAway, ServerRefuses, ServerUnavailable
from shared.transport.connection import connect
from shared.transport.queues import Address, Queues
from tests.eventually import eventually
from tests.own_valkey import Forwarder, Watched, serving, take_password, watched_pair

WORKER = uuid4()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Valkey]:
    async with serving(tmp_path / "valkey") as valkey:
        yield valkey


@contextlib.asynccontextmanager
async def queues_at(url: str) -> AsyncIterator[Queues]:
    queues = Queues(connect(url))
    try:
        yield queues
    finally:
        await queues.client.aclose()


def address() -> Address:
    return Address(uuid4(), "email", 5)


async def _knows_that_it_is_closed(queues: Queues) -> bool:
    """Whether the event loop has noticed that the client's only connection was closed."""
    (connection,) = queues.client.connection_pool._available_connections
    try:
        return bool(await connection.can_read())
    except redis.ConnectionError:
        return True


async def test_a_closed_client_opens_no_connection_again(server: Valkey) -> None:
    queues = Queues(connect(server.url()))
    await queues.push([address()])
    await queues.client.aclose()
    with pytest.raises(ServerAway, match="this client is closed"):
        await queues.push([address()])
    await _expect_no_connection(server)


async def test_a_client_that_is_closed_while_it_connects_leaves_no_connection(server: Valkey) -> None:
    queues = Queues(connect(server.url()))
    late = asyncio.create_task(queues.push([address()]))
    await asyncio.sleep(0)  # let the client begin to connect
    await queues.client.aclose()
    with pytest.raises(ServerAway, match="this client is closed"):
        await late
    await _expect_no_connection(server)


async def _expect_no_connection(server: Valkey) -> None:
    """Wait until the server has no other connection than this test's own."""
    with redis.Redis.from_url(server.url()) as admin:
        await eventually(lambda: len(admin.client_list()) == 1)


async def test_an_idle_connection_closed_by_the_server_is_replaced(server: Valkey) -> None:
    async with queues_at(server.url()) as queues:
        await queues.client.config_set("timeout", 1)
        await queues.push([address()])
        await eventually(lambda: _knows_that_it_is_closed(queues))
        await queues.push([address()])
        await eventually(lambda: _knows_that_it_is_closed(queues))
        # The client never repeats a fetch. So the fetch succeeds only if the client noticed the
        # closed connection before it sent anything.
        fetched = await queues.fetch(WORKER, ["email"], wanted=5, served=0, idle=True)
    assert len(fetched.ids) == 2


async def test_a_push_is_repeated_when_its_connection_breaks(server: Valkey) -> None:
    async with queues_at(server.url()) as queues:
        await queues.push([address()])
        with redis.Redis.from_url(server.url()) as admin:
            admin.client_kill_filter(_type="normal", skipme=True)
        # The event loop has not run since the connection was closed, so the client still takes it
        # for open.
        await queues.push([address()])
        assert len(await queues.head("email", 5, 5)) == 2


async def test_a_fetch_is_not_repeated_when_its_connection_breaks(server: Valkey) -> None:
    async with queues_at(server.url()) as queues:
        await queues.push([address()])
        with redis.Redis.from_url(server.url()) as admin:
            admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(ServerAway, match="closed"):
            await queues.fetch(WORKER, ["email"], wanted=5, served=0, idle=True)


async def test_connections_that_survive_a_failover_are_closed(server: Valkey, tmp_path: Path) -> None:
    forwarder = Forwarder(server)
    async with (
        serving(tmp_path / "promoted") as promoted,
        forwarder.serving() as url,
        queues_at(url) as queues,
    ):
        take_password(promoted, server)
        # Open several connections, all of which lead to the old primary.
        await asyncio.gather(*(queues.push([address()]) for _ in range(5)))
        forwarder.server = promoted
        with redis.Redis.from_url(server.url()) as old:
            old.replicaof(HOST, str(promoted.port))
        with pytest.raises(ServerRefuses, match="read only replica"):
            await queues.fetch(WORKER, ["email"], wanted=5, served=0, idle=True)
        # The client never repeats a fetch. So these succeed only if no connection leads to the old
        # primary any more.
        at_once = [queues.fetch(WORKER, ["email"], wanted=9, served=0, idle=True) for _ in range(5)]
        assert [fetched.ids for fetched in await asyncio.gather(*at_once)] == [[]] * 5
        new = address()
        await queues.push([new])
        fetched = await queues.fetch(WORKER, ["email"], wanted=9, served=0, idle=True)
    assert fetched.ids == [new.id]


async def test_a_push_survives_a_failover_with_kept_connections(server: Valkey, tmp_path: Path) -> None:
    forwarder = Forwarder(server)
    async with (
        serving(tmp_path / "promoted") as promoted,
        forwarder.serving() as url,
        queues_at(url) as queues,
    ):
        take_password(promoted, server)
        await queues.push([address()])
        forwarder.server = promoted
        with redis.Redis.from_url(server.url()) as old:
            old.replicaof(HOST, str(promoted.port))
        new = address()
        await queues.push([new])
        assert await queues.head("email", 5, 5) == [new.id]


@pytest.fixture
async def watched(server: Valkey, tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched_pair(server, tmp_path) as pair:
        yield pair


async def test_every_client_follows_a_sentinel_through_a_failover(watched: Watched) -> None:
    async with queues_at(watched.url) as queues, contextlib.AsyncExitStack() as stack:
        counting = CountingRedis(watched.url)
        limits = RateLimits(counting, "90/second", "90/second", "90/second")
        stack.push_async_callback(counting.close)

        async def all_reach(port: int) -> bool:
            """Whether all Redis clients reach the Redis server at this port."""
            with contextlib.suppress(ServerUnavailable, redis.RedisError):
                await queues.push([address()])
                await limits.count_user(1)
                reached = (await queues.client.info("server"))["tcp_port"]
                return reached == port and await _kinds(queues) >= {"rate", "lane"}
            return False

        await eventually(lambda: all_reach(watched.primary))
        await watched.fail_over()
        await queues.client.flushdb()
        await eventually(lambda: all_reach(watched.replica))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("default:", "default:x"), "refuses for now: invalid username-password pair"),
        (lambda url: f"redis://{url.rpartition('@')[2]}", "refuses for now: Authentication required"),
        (lambda url: f"{url.rpartition('/')[0]}/99", "DB index is out of range"),
        (lambda url: "redis://no-such-host.invalid", "no-such-host.invalid:6379"),
        (lambda url: f"redis://{HOST}:{ports.pick('nobody')['nobody']}", "Connect call failed"),
    ],
    ids=["wrong password", "no password", "no such database", "DNS", "nobody listens"],
)
async def test_the_cause_is_in_the_message(server: Valkey, change: object, reason: str) -> None:
    assert callable(change)
    async with queues_at(change(server.url())) as queues:
        with pytest.raises(ServerUnavailable, match=reason):
            await queues.push([address()])


async def test_the_error_names_a_full_redis(server: Valkey) -> None:
    async with queues_at(server.url()) as queues:
        await queues.client.config_set("maxmemory", "1mb")
        with pytest.raises(ServerRefuses, match="maxmemory"):
            await queues.push([address()])


async def test_the_error_names_a_server_without_tls(server: Valkey) -> None:
    queues = Queues(connect(server.url().replace("redis://", "rediss://"), socket_timeout_s=0.3))
    with pytest.raises(ServerAway, match=r"connecting to server|SSL"):
        await queues.push([address()])
    await queues.client.aclose()


async def _kinds(queues: Queues) -> set[str]:
    """Kinds of the platform's keys in Redis. The kind is the part after `often:`."""
    return {str(key).split(":")[1] for key in await queues.client.keys("often:*")}
