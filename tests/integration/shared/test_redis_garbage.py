"""Tests that the platform goes on working if another program writes data to its Redis keys."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from shared.transport.keys import (
    CHECKED_KEY,
    GENERATION_KEY,
    SYSTEM_KEY,
    lane_key,
    rescue_key,
    spare_key,
    turn_key,
    unacked_key,
    wake_key,
)
from shared.transport.queues import Queues
from tests.lanes import WORKER, addresses, fetch


async def test_an_entry_that_is_not_a_task_id_is_dropped_with_a_log_line(
    queues: Queues, caplog: pytest.LogCaptureFixture
) -> None:
    good = addresses(3)
    await queues.client.rpush(lane_key("email", 5), "xx", b"z" * 17, "")
    await queues.push(good)
    await queues.client.rpush(lane_key("email", 5), "x" * 100_000)
    got = await fetch(queues, 2) + await fetch(queues, 8)
    assert got == [a.id for a in good]
    assert not await queues.client.exists(lane_key("email", 5))
    assert await queues.client.scard(unacked_key(WORKER)) == 3
    dropped = [int(word) for word in re.findall("dropped ([0-9]+) entries that are no task ids", caplog.text)]
    assert sum(dropped) == 4


async def test_garbage_in_the_lane_of_rescued_ids_is_skipped(queues: Queues) -> None:
    (good,) = addresses(1, rescued=True)
    await queues.client.rpush(rescue_key("email"), "xx", b"z" * 17)
    await queues.push([good])
    got = await queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=True)
    assert (got.ids, got.alone) == ([good.id], True)


async def test_a_huge_entry_does_not_reach_the_client(queues: Queues) -> None:
    """Scripts inside Redis read lanes, heads of lanes and unacked sets.

    They skip a huge entry, so that it is not sent to the client.
    """
    await queues.client.rpush(lane_key("email", 5), b"x" * 20_000_000)
    await queues.client.sadd(unacked_key(WORKER), b"x" * 20_000_000)
    await queues.client.config_resetstat()
    assert await queues.head("email", 5, 16) == []
    assert await queues.unacked(WORKER) == set()
    await queues.client.rpush(lane_key("email", 5), b"x" * 20_000_000)
    before = (await queues.client.info("stats"))["total_net_output_bytes"]
    assert await fetch(queues, 8) == []
    assert (await queues.client.info("stats"))["total_net_output_bytes"] - before < 1_000_000


async def test_garbage_at_the_head_of_a_lane_does_not_make_it_look_empty(queues: Queues) -> None:
    good = addresses(2)
    await queues.client.rpush(lane_key("email", 5), *(f"garbage {i}" for i in range(40)))
    await queues.push(good)
    assert await queues.head("email", 5, 16) == [a.id for a in good]


async def test_garbage_in_an_unacked_set_is_dropped(queues: Queues) -> None:
    task_id = uuid4()
    await queues.client.sadd(unacked_key(WORKER), "xx", task_id.bytes, b"z" * 17)
    assert await queues.unacked(WORKER) == {task_id}
    assert await queues.client.scard(unacked_key(WORKER)) == 1


LANE = lane_key("email", 0)


@pytest.mark.parametrize(
    "key",
    [LANE, lane_key("email", 5), rescue_key("email"), unacked_key(WORKER)],
    ids=["lane", "lane of a priority", "rescue lane", "unacked set"],
)
async def test_a_key_of_the_wrong_type_is_moved_aside_and_stops_nothing(
    queues: Queues, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    (low, high, elsewhere) = [*addresses(1, priority=0), *addresses(2)]
    await queues.push([high])
    await queues.client.set(key, "mine")
    if key == LANE:
        await queues.push([low])
    got = await fetch(queues, 8, "email", "default", wait_s=1.0)
    expected = {LANE: [high.id, low.id], lane_key("email", 5): []}
    assert got == expected.get(key, [high.id])
    assert await queues.client.get(f"{key}:misplaced") == b"mine"
    assert f"held a value of the wrong type, which was moved to {key}:misplaced" in caplog.text
    # Afterwards everything works again, and the problem is not logged a second time.
    caplog.clear()
    await queues.push([elsewhere])
    assert await fetch(queues, 8, "email", wait_s=1.0) == [elsewhere.id]
    assert {elsewhere.id} <= await queues.unacked(WORKER)
    assert not caplog.records


async def test_a_wake_list_of_the_wrong_type_stops_nothing(queues: Queues) -> None:
    batch, key = addresses(3), wake_key("email")
    await queues.client.set(key, "mine")
    await queues.push(batch)
    assert await queues.client.llen(key) == 3
    await queues.client.set(key, "mine")
    # A wake list of the wrong type stops nothing: the worker finds the ids, wakes another worker
    # for the rest, and deletes the list once the queue is empty.
    assert await fetch(queues, 2, wait_s=1.0) == [a.id for a in batch[:2]]
    assert await queues.client.llen(key) == 1
    await queues.client.set(key, "mine")
    assert await fetch(queues, 2, wait_s=1.0) == [batch[2].id]
    assert not await queues.client.exists(key)


@pytest.mark.parametrize("key", [turn_key("email"), spare_key("email"), SYSTEM_KEY])
async def test_a_turn_or_an_owner_of_the_wrong_type_stops_no_work(queues: Queues, key: str) -> None:
    await queues.client.delete(key)
    await queues.client.rpush(key, "mine")
    (rescued,) = addresses(1, rescued=True)
    await queues.push([rescued])
    got = await queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=True)
    assert got.ids == [rescued.id]


async def test_a_turn_that_never_expires_is_garbage(queues: Queues) -> None:
    await queues.client.set(turn_key("email"), "mine")
    (rescued,) = addresses(1, rescued=True)
    await queues.push([rescued])
    got = await queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=True)
    assert got.ids == [rescued.id]


async def test_reading_alone_copes_with_keys_of_the_wrong_type(queues: Queues) -> None:
    (waiting,) = addresses(1, priority=9)
    await queues.push([waiting])
    for key in (LANE, rescue_key("email"), unacked_key(WORKER)):
        await queues.client.set(key, "mine")
    assert (await queues.depths("email"))[1] == {9: 1, **dict.fromkeys(range(9), 0)}
    assert await queues.head("email", 0, 16) == []
    assert await queues.rescued_head("email", 16) == []
    assert await queues.unacked(WORKER) == set()


@pytest.mark.parametrize("value", ["hello", "", "1.5", b"\xff", "[]"])
async def test_a_generation_that_is_not_a_number_counts_as_lost(queues: Queues, value: str) -> None:
    await queues.client.set(GENERATION_KEY, value)
    assert await queues.generation() is None
    await queues.client.delete(GENERATION_KEY)
    await queues.client.rpush(GENERATION_KEY, value)
    assert await queues.generation() is None
    await queues.set_generation(7)
    assert await queues.generation() == 7


@pytest.mark.parametrize("value", ["hello", "", "2026", b"\xff", "9999-12-31T23:59:59-23:59"])
async def test_an_invalid_time_of_the_last_check_counts_as_lost(queues: Queues, value: str) -> None:
    await queues.client.set(CHECKED_KEY, value)
    assert await queues.checked_at() is None
    await queues.client.delete(CHECKED_KEY)
    await queues.client.rpush(CHECKED_KEY, value)
    assert await queues.checked_at() is None
    now = datetime.now(UTC)
    await queues.set_checked_at(now)
    assert await queues.checked_at() == now
