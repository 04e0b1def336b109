"""Lanes in a real Valkey."""

import asyncio
from uuid import UUID, uuid4

import pytest

from shared.errors import ServerUnavailable
from shared.transport.queues import MAX_WAKE_TOKENS, Address, Queues, connect, lane_key
from tests.platform import Platform

WORKER, OTHER = uuid4(), uuid4()


def addresses(count: int, queue: str = "email", priority: int = 5, rescued: bool = False) -> list[Address]:
    return [Address(uuid4(), queue, priority, rescued) for _ in range(count)]


async def fetch(
    queues: Queues, wanted: int, *names: str, served: int = 0, idle: bool = False, wait_s: float = 0.0
) -> list[UUID]:
    got = await queues.fetch(
        WORKER, names or ("email",), wanted=wanted, served=served, idle=idle, wait_s=wait_s
    )
    return got.ids


async def test_a_queued_task_is_its_sixteen_byte_id(platform: Platform) -> None:
    (address,) = addresses(1)
    await platform.queues.push([address])
    entries = await platform.queues.client.lrange(lane_key("email", 5), 0, -1)
    assert entries == [address.id.bytes]
    assert len(entries[0]) == 16


async def test_higher_lanes_come_first_and_a_lane_is_first_in_first_out(platform: Platform) -> None:
    low, high, middle = addresses(3, priority=1), addresses(3, priority=9), addresses(3, priority=5)
    await platform.queues.push([*low, *high, *middle])
    assert await fetch(platform.queues, 9) == [a.id for a in (*high, *middle, *low)]
    assert await platform.queues.unacked(WORKER) == {a.id for a in (*high, *middle, *low)}


async def test_every_sixteenth_slot_goes_to_the_lowest_lane(platform: Platform) -> None:
    low, high = addresses(10, priority=0), addresses(100, priority=9)
    await platform.queues.push([*low, *high])
    got = [await fetch(platform.queues, 1, served=slot) for slot in range(48)]
    assert [slot for slot, ids in enumerate(got) if ids[0] in {a.id for a in low}] == [15, 31, 47]


async def test_queues_of_one_priority_take_turns(platform: Platform) -> None:
    a, b = addresses(10, "email"), addresses(10, "default")
    await platform.queues.push([*a, *b])
    got = await fetch(platform.queues, 10, "default", "email")
    assert len(set(got) & {x.id for x in a}) == 5


async def test_a_rescued_id_is_fetched_alone_and_only_by_an_idle_worker(platform: Platform) -> None:
    (rescued,) = addresses(1, rescued=True)
    await platform.queues.push([rescued])
    busy = await platform.queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=False)
    assert (busy.ids, busy.turn) == ([], True)
    idle = await platform.queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=True)
    assert (idle.ids, idle.alone) == ([rescued.id], True)


async def test_only_one_busy_worker_at_a_time_empties_itself_for_a_suspect(platform: Platform) -> None:
    await platform.queues.push([*addresses(1, rescued=True), *addresses(4)])
    first = await platform.queues.fetch(WORKER, ["email"], wanted=2, served=0, idle=False)
    second = await platform.queues.fetch(OTHER, ["email"], wanted=2, served=0, idle=False)
    assert (first.ids, first.turn) == ([], True)
    assert (len(second.ids), second.turn) == (2, False)


async def test_a_push_wakes_a_blocked_worker_and_what_is_left_wakes_the_next(platform: Platform) -> None:
    waiting = asyncio.create_task(fetch(platform.queues, 9, wait_s=1.5))
    await platform.queues.push(addresses(1))
    assert len(await waiting) == 1
    await platform.queues.push(addresses(5))
    assert len(await fetch(platform.queues, 3, wait_s=1.5)) == 3
    assert await platform.queues.client.llen("often:wake:email") > 0
    assert len(await fetch(platform.queues, 9, wait_s=1.5)) == 2
    assert not await platform.queues.client.exists("often:wake:email")


async def test_more_than_a_bound_of_wake_tokens_is_not_kept(platform: Platform) -> None:
    await platform.queues.push([*addresses(20), *addresses(20, priority=1)])
    await platform.queues.push(addresses(1))
    assert await platform.queues.client.llen("often:wake:email") == MAX_WAKE_TOKENS


@pytest.mark.parametrize("wait_s", [0.0, 1.5])
async def test_a_redis_that_was_restarted_learns_the_scripts_anew(platform: Platform, wait_s: float) -> None:
    await platform.queues.client.script_flush()
    await platform.queues.push([*addresses(1, priority=1), *addresses(1, priority=2)])
    await platform.queues.client.script_flush()
    assert len(await fetch(platform.queues, 3, wait_s=wait_s)) == 2


async def test_a_redis_that_does_not_answer_is_away() -> None:
    queues = Queues(connect("redis://127.0.0.1:1", socket_timeout_s=0.2))
    with pytest.raises(ServerUnavailable, match="Redis does not answer"):
        await queues.push(addresses(1))
    await queues.client.aclose()
