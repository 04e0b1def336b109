"""Tests that a Redis database belongs to exactly one system (installation of the platform)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared import system
from shared.errors import Stranger
from shared.transport.keys import SYSTEM_KEY
from shared.transport.queues import Queues, connect
from tests.lanes import WORKER, addresses
from tests.platform import Platform


@pytest.fixture
async def stranger(redis_url: str) -> AsyncIterator[Queues]:
    """The queues of another system that uses the same Redis database."""
    async with connect(redis_url) as client:
        made = Queues(client)
        made.system = uuid4()
        yield made


async def test_two_systems_on_one_database_do_not_take_each_others_tasks(
    queues: Queues, stranger: Queues
) -> None:
    (address,) = addresses(1)
    await queues.push([address])
    assert queues.system
    assert stranger.system
    both = f"belongs to system {queues.system.hex}, and this process to system {stranger.system.hex}"
    for attempt in (
        stranger.push(addresses(1)),
        stranger.fetch(WORKER, ["email"], wanted=1, served=0, idle=True),
        stranger.unacked(WORKER),
        stranger.head("email", 5, 1),
        stranger.generation(),
    ):
        with pytest.raises(Stranger, match=both):
            await attempt
    assert await queues.head("email", 5, 5) == [address.id]


async def test_a_wiped_database_belongs_to_the_first_system_that_uses_it(
    queues: Queues, stranger: Queues
) -> None:
    await queues.push(addresses(1))
    await queues.client.flushdb()
    await stranger.push(addresses(1))
    with pytest.raises(Stranger):
        await queues.push(addresses(1))


@pytest.mark.parametrize("garbage", ["hello", "G" * 32, b"\xff" * 32, ""])
async def test_an_owner_that_is_garbage_is_replaced(queues: Queues, garbage: str) -> None:
    assert queues.system
    await queues.client.set(SYSTEM_KEY, garbage)
    await queues.generation()
    await queues.push(addresses(1))
    assert await queues.client.get(SYSTEM_KEY) == queues.system.hex.encode()


async def test_a_process_learns_its_system_from_the_ledger(platform: Platform, stranger: Queues) -> None:
    await platform.queues.push(addresses(1))
    stranger.system = None
    await system.join(platform.database, stranger)
    assert stranger.system == platform.queues.system
    stranger.system = None
    await platform.rows("UPDATE generation SET system = gen_random_uuid()")
    with pytest.raises(Stranger):
        await system.join(platform.database, stranger)
