"""Lanes in a real Valkey."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from shared import system
from shared.errors import ServerUnavailable, Stranger
from shared.transport.queues import (
    GENERATION_KEY,
    MAX_WAKE_TOKENS,
    SYSTEM_KEY,
    TURN_KEY,
    Address,
    Queues,
    connect,
    lane_key,
    rescue_key,
    unacked_key,
    wake_key,
)
from tests.platform import Platform

WORKER, OTHER = uuid4(), uuid4()


@pytest.fixture
async def queues(redis_url: str) -> AsyncIterator[Queues]:
    """An empty database that belongs to some system."""
    async with connect(redis_url) as client:
        made = Queues(client)
        made.system = uuid4()
        yield made


def addresses(count: int, queue: str = "email", priority: int = 5, rescued: bool = False) -> list[Address]:
    return [Address(uuid4(), queue, priority, rescued) for _ in range(count)]


async def fetch(
    queues: Queues, wanted: int, *names: str, served: int = 0, idle: bool = False, wait_s: float = 0.0
) -> list[UUID]:
    got = await queues.fetch(
        WORKER, names or ("email",), wanted=wanted, served=served, idle=idle, wait_s=wait_s
    )
    return got.ids


async def test_a_queued_task_is_its_sixteen_byte_id(queues: Queues) -> None:
    (address,) = addresses(1)
    await queues.push([address])
    entries = await queues.client.lrange(lane_key("email", 5), 0, -1)
    assert entries == [address.id.bytes]
    assert len(entries[0]) == 16


async def test_higher_lanes_come_first_and_a_lane_is_first_in_first_out(queues: Queues) -> None:
    low, high, middle = addresses(3, priority=1), addresses(3, priority=9), addresses(3, priority=5)
    await queues.push([*low, *high, *middle])
    assert await fetch(queues, 9) == [a.id for a in (*high, *middle, *low)]
    assert await queues.unacked(WORKER) == {a.id for a in (*high, *middle, *low)}


async def test_every_sixteenth_slot_goes_to_a_lower_lane(queues: Queues) -> None:
    low, high = addresses(10, priority=0), addresses(100, priority=9)
    await queues.push([*low, *high])
    got = [await fetch(queues, 1, served=slot) for slot in range(48)]
    assert [slot for slot, ids in enumerate(got) if ids[0] in {a.id for a in low}] == [15, 31, 47]


async def shares(queues: Queues, names: list[str], slots: int, *, at_once: int = 16) -> Counter[str]:
    """Serve `slots` slots; returns how many each lane got, by `queue:priority`. No lane runs out of ids."""
    lane_of: dict[UUID, str] = {}
    served = 0
    for name in names:
        queue, priority = name.split(":")
        batch = addresses(slots, queue, int(priority))
        lane_of |= {address.id: name for address in batch}
        await queues.push(batch)
    got: Counter[str] = Counter()
    while served < slots:
        ids = await fetch(queues, at_once, *sorted({name.split(":")[0] for name in names}), served=served)
        got.update(lane_of[i] for i in ids)
        served += len(ids)
    return got


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        # One slot in 16 goes to the lanes below the highest priority that waits; they take turns.
        (3_200, {"a:9": 3_000, "a:5": 100, "a:0": 100}),
        (3_200, {"a:9": 1_500, "b:9": 1_500, "a:5": 50, "a:0": 50, "b:5": 50, "b:0": 50}),
        # Queues take turns, however many there are.
        (3_200, {"a:9": 1_600, "b:9": 1_600}),
        (4_800, {"a:5": 1_600, "b:5": 1_600, "c:5": 1_600}),
        (3_200, {"a:9": 3_000, "b:9": 0, "b:0": 200}),
    ],
)
@pytest.mark.parametrize("at_once", [1, 7, 128])
async def test_lower_lanes_share_every_sixteenth_slot(
    queues: Queues, slots: int, expected: dict[str, int], at_once: int
) -> None:
    waiting = [name for name, share in expected.items() if share]
    got = await shares(queues, waiting, slots, at_once=at_once)
    total = sum(got.values())
    for name in waiting:
        assert got[name] == pytest.approx(expected[name] * total / slots, abs=8)


async def test_queues_of_one_priority_take_turns(queues: Queues) -> None:
    a, b = addresses(10, "email"), addresses(10, "default")
    await queues.push([*a, *b])
    got = await fetch(queues, 10, "default", "email")
    assert len(set(got) & {x.id for x in a}) == 5


async def test_a_rescued_id_is_fetched_alone_and_only_by_an_idle_worker(queues: Queues) -> None:
    (rescued,) = addresses(1, rescued=True)
    await queues.push([rescued])
    busy = await queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=False)
    assert (busy.ids, busy.turn) == ([], True)
    idle = await queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=True)
    assert (idle.ids, idle.alone) == ([rescued.id], True)


async def test_only_one_busy_worker_at_a_time_empties_itself_for_a_suspect(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(4)])
    first = await queues.fetch(WORKER, ["email"], wanted=2, served=0, idle=False)
    second = await queues.fetch(OTHER, ["email"], wanted=2, served=0, idle=False)
    assert (first.ids, first.turn) == ([], True)
    assert (len(second.ids), second.turn) == (2, False)


async def turn_of(queues: Queues, worker: UUID) -> bool:
    return (await queues.fetch(worker, ["email"], wanted=1, served=0, idle=False)).turn


async def pass_time(queues: Queues, seconds: float) -> None:
    """As if the turn had begun earlier."""
    left = await queues.client.pttl(TURN_KEY)
    await queues.client.pexpire(TURN_KEY, max(1, left - int(seconds * 1000)))


async def test_a_turn_moves_on_when_its_worker_does_not_run_out_of_work(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(40)])
    assert await turn_of(queues, WORKER)
    await pass_time(queues, 9)
    # Asking again does not make it last longer.
    assert await turn_of(queues, WORKER)
    assert not await turn_of(queues, OTHER)
    await pass_time(queues, 2)
    assert await turn_of(queues, OTHER)
    assert not await turn_of(queues, WORKER)


async def test_a_worker_keeps_its_turn_while_no_other_takes_it(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(40)])
    for _ in range(4):
        assert await turn_of(queues, WORKER)
        await pass_time(queues, 11)


async def test_turns_grow_longer_until_some_worker_has_the_time_to_run_out_of_work(
    queues: Queues,
) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(40)])
    lengths = []
    for worker in (WORKER, OTHER, WORKER, OTHER):
        assert await turn_of(queues, worker)
        lengths.append(round(await queues.client.pttl(TURN_KEY) / 1000) - 10)
        await pass_time(queues, lengths[-1] + 1)
    assert lengths == [10, 20, 40, 80]


async def test_after_a_suspect_has_run_turns_are_short_again(queues: Queues) -> None:
    await queues.push([*addresses(2, rescued=True), *addresses(40)])
    assert await turn_of(queues, WORKER)
    await pass_time(queues, 11)
    assert await turn_of(queues, OTHER)
    alone = await queues.fetch(OTHER, ["email"], wanted=8, served=0, idle=True)
    assert alone.alone
    assert 19_000 < await queues.client.pttl(TURN_KEY) <= 20_000


async def test_a_push_wakes_a_blocked_worker_and_what_is_left_wakes_the_next(queues: Queues) -> None:
    waiting = asyncio.create_task(fetch(queues, 9, wait_s=1.5))
    await queues.push(addresses(1))
    assert len(await waiting) == 1
    await queues.push(addresses(5))
    assert len(await fetch(queues, 3, wait_s=1.5)) == 3
    assert await queues.client.llen("often:wake:email") > 0
    assert len(await fetch(queues, 9, wait_s=1.5)) == 2
    assert not await queues.client.exists("often:wake:email")


async def test_more_than_a_bound_of_wake_tokens_is_not_kept(queues: Queues) -> None:
    await queues.push([*addresses(20), *addresses(20, priority=1)])
    await queues.push(addresses(1))
    assert await queues.client.llen("often:wake:email") == MAX_WAKE_TOKENS


@pytest.mark.parametrize("wait_s", [0.0, 1.5])
async def test_a_redis_that_was_restarted_learns_the_scripts_anew(queues: Queues, wait_s: float) -> None:
    await queues.client.script_flush()
    await queues.push([*addresses(1, priority=1), *addresses(1, priority=2)])
    await queues.client.script_flush()
    assert len(await fetch(queues, 3, wait_s=wait_s)) == 2


async def test_a_redis_that_does_not_answer_is_away() -> None:
    queues = Queues(connect("redis://127.0.0.1:1", socket_timeout_s=0.2))
    with pytest.raises(ServerUnavailable, match="Redis does not answer"):
        await queues.push(addresses(1))
    await queues.client.aclose()


async def test_what_is_no_task_id_is_dropped_with_a_log_line(
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


async def test_garbage_in_the_lane_of_rescued_ids_is_passed_over(queues: Queues) -> None:
    (good,) = addresses(1, rescued=True)
    await queues.client.rpush(rescue_key("email"), "xx", b"z" * 17)
    await queues.push([good])
    got = await queues.fetch(WORKER, ["email"], wanted=8, served=0, idle=True)
    assert (got.ids, got.alone) == ([good.id], True)


async def test_a_huge_entry_does_not_reach_the_client(queues: Queues) -> None:
    """A lane, its head and an unacked set are read inside Redis."""
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
    assert f"{key} held a value of the wrong type, which was moved to {key}:misplaced" in caplog.text
    # Everything works again, and it is logged once.
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
    # The worker finds ids without a token, wakes another worker for the rest, and clears an empty queue.
    assert await fetch(queues, 2, wait_s=1.0) == [a.id for a in batch[:2]]
    assert await queues.client.llen(key) == 1
    await queues.client.set(key, "mine")
    assert await fetch(queues, 2, wait_s=1.0) == [batch[2].id]
    assert not await queues.client.exists(key)


@pytest.mark.parametrize("key", [TURN_KEY, SYSTEM_KEY])
async def test_a_turn_or_an_owner_of_the_wrong_type_stops_nothing(queues: Queues, key: str) -> None:
    await queues.client.delete(key)
    await queues.client.rpush(key, "mine")
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
async def test_a_generation_that_is_no_number_counts_as_lost(queues: Queues, value: str) -> None:
    await queues.client.set(GENERATION_KEY, value)
    assert await queues.generation() is None
    await queues.client.delete(GENERATION_KEY)
    await queues.client.rpush(GENERATION_KEY, value)
    assert await queues.generation() is None
    await queues.set_generation(7)
    assert await queues.generation() == 7


@pytest.fixture
async def stranger(redis_url: str) -> AsyncIterator[Queues]:
    """The same database, as another system sees it."""
    async with connect(redis_url) as client:
        made = Queues(client)
        made.system = uuid4()
        yield made


async def test_two_systems_on_one_database_take_nothing_from_each_other(
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


async def test_a_database_that_was_wiped_belongs_to_the_first_that_uses_it(
    queues: Queues, stranger: Queues
) -> None:
    await queues.push(addresses(1))
    await queues.client.flushdb()
    await stranger.push(addresses(1))
    with pytest.raises(Stranger):
        await queues.push(addresses(1))


@pytest.mark.parametrize("garbage", ["hello", "G" * 32, b"\xff" * 32, ""])
async def test_garbage_is_no_owner(queues: Queues, garbage: str) -> None:
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
