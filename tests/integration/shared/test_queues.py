"""Tests of fetching task ids from lanes in a real Valkey, and of how lanes and workers share the
fetches.
"""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio.connection import Connection

from shared.errors import ServerRefuses, ServerUnavailable
from shared.transport.keys import lane_key, turn_key, wake_key
from shared.transport.queues import MAX_WAKE_TOKENS, Fetched, Queues, connect
from tests.eventually import eventually
from tests.lanes import WORKER, addresses, fetch

OTHER = uuid4()


async def test_a_lane_contains_a_task_as_its_sixteen_byte_id(queues: Queues) -> None:
    (address,) = addresses(1)
    await queues.push([address])
    entries = await queues.client.lrange(lane_key("email", 5), 0, -1)
    assert entries == [address.id.bytes]
    assert len(entries[0]) == 16


async def test_cancel_hints_of_many_tasks_arrive_one_by_one_after_one_round_trip(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [address.id for address in addresses(3)]
    async with queues.client.pubsub() as subscription:
        await subscription.subscribe(queues.cancel_channel)
        assert await subscription.get_message(timeout=5)
        await queues.client.ping()
        sends: list[object] = []
        send = Connection.send_packed_command

        async def counted(connection: Connection, *arguments: Any, **options: Any) -> None:
            sends.append(arguments)
            await send(connection, *arguments, **options)

        monkeypatch.setattr(Connection, "send_packed_command", counted)
        await queues.announce_cancel(*ids)
        await queues.announce_cancel()
        assert len(sends) == 1
        hints = [await subscription.get_message(timeout=5) for _ in ids]
    assert [hint and hint["data"] for hint in hints] == [task_id.bytes for task_id in ids]


async def test_higher_lanes_are_served_first_and_a_lane_is_first_in_first_out(queues: Queues) -> None:
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
    """Fetch `slots` ids from lanes that never become empty.

    Returns how many came from each lane, by `queue:priority`.
    """
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
        # One id in 16 comes from a lane below the highest priority that waits. The lower lanes take
        # turns.
        (3_200, {"a:9": 3_000, "a:5": 100, "a:0": 100}),
        (3_200, {"a:9": 1_500, "b:9": 1_500, "a:5": 50, "a:0": 50, "b:5": 50, "b:0": 50}),
        # Queues whose ids have the same priority take turns, however many queues there are.
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


async def ask(
    queues: Queues, worker: UUID = WORKER, *names: str, idle: bool = False, may_stop: bool = True
) -> Fetched:
    return await queues.fetch(worker, names or ("email",), wanted=2, served=0, idle=idle, may_stop=may_stop)


async def test_a_rescued_id_is_fetched_alone_and_only_by_an_idle_worker(queues: Queues) -> None:
    (rescued,) = addresses(1, rescued=True)
    await queues.push([rescued])
    busy = await ask(queues)
    assert (busy.ids, busy.turn, busy.suspects) == ([], True, True)
    idle = await ask(queues, idle=True)
    assert (idle.ids, idle.alone, idle.turn) == ([rescued.id], True, True)


async def test_one_worker_at_a_time_stops_for_a_suspect_and_the_others_continue(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(4)])
    first, second = await ask(queues), await ask(queues, OTHER)
    assert (first.ids, first.turn) == ([], True)
    assert (len(second.ids), second.turn, second.alone) == (2, False, False)


async def test_a_worker_that_may_not_stop_continues_and_leaves_its_turn_to_another(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(4)])
    assert (await ask(queues)).turn
    busy = await ask(queues, may_stop=False)
    assert (len(busy.ids), busy.turn, busy.suspects) == (2, False, True)
    assert (await ask(queues, OTHER)).turn


async def test_a_worker_that_waits_for_its_tasks_to_end_gives_its_turn_to_an_idle_worker(
    queues: Queues,
) -> None:
    await queues.push(addresses(2, rescued=True))
    assert (await ask(queues)).turn
    assert (await ask(queues, OTHER, idle=True)).alone
    # The first worker continues with ordinary work. While the suspect runs, no third worker gets
    # the turn (the right to stop for a suspect).
    assert not (await ask(queues)).turn
    assert not (await ask(queues, uuid4())).turn


async def test_a_turn_that_is_not_renewed_expires(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(4)])
    assert (await ask(queues)).turn
    await queues.client.pexpire(turn_key("email"), 1)
    await eventually(lambda: is_gone(queues, turn_key("email")))
    assert (await ask(queues, OTHER)).turn


async def is_gone(queues: Queues, key: str) -> bool:
    return not await queues.client.exists(key)


async def test_suspects_never_take_all_idle_workers(queues: Queues) -> None:
    workers = [uuid4() for _ in range(4)]
    await queues.push(addresses(8, rescued=True))
    got = [await ask(queues, worker, idle=True) for worker in workers]
    # One worker runs a suspect because it has the turn, and the next is kept free as the spare. The
    # others run suspects because they are idle.
    assert [len(fetched.ids) for fetched in got] == [1, 0, 1, 1]
    assert [fetched.turn for fetched in got] == [True, False, False, False]
    # The spare worker has no suspect, so it takes ordinary work that arrives now.
    await queues.push(addresses(2))
    assert len((await ask(queues, workers[1], idle=True, may_stop=False)).ids) == 2


async def test_while_ordinary_work_waits_only_the_worker_with_the_turn_takes_a_suspect(
    queues: Queues,
) -> None:
    await queues.push([*addresses(8, rescued=True), *addresses(9)])
    got = [await ask(queues, uuid4(), idle=True) for _ in range(4)]
    assert [fetched.alone for fetched in got] == [True, False, False, False]


async def test_a_single_worker_runs_suspects_though_it_may_not_stop_for_them(queues: Queues) -> None:
    await queues.push(addresses(2, rescued=True))
    for _ in range(2):
        assert (await ask(queues, idle=True, may_stop=False)).alone


async def test_a_suspect_of_one_queue_does_not_stop_workers_of_another_queue(queues: Queues) -> None:
    await queues.push([*addresses(1, rescued=True), *addresses(1, "payments", rescued=True)])
    assert (await ask(queues, idle=True)).alone
    assert (await ask(queues, OTHER, "payments", idle=True)).alone


async def test_a_spare_worker_sleeps_while_suspects_wait(queues: Queues) -> None:
    """There is no wake token for suspects.

    It would make the spare worker look for work again and again.
    """
    await queues.push(addresses(3, rescued=True))
    assert (await ask(queues, idle=True)).alone
    assert not (await ask(queues, OTHER, idle=True)).ids
    assert await is_gone(queues, wake_key("email"))


async def test_a_push_wakes_a_blocked_worker_and_remaining_ids_wake_the_next(queues: Queues) -> None:
    waiting = asyncio.create_task(fetch(queues, 9, wait_s=1.5))
    await queues.push(addresses(1))
    assert len(await waiting) == 1
    await queues.push(addresses(5))
    assert len(await fetch(queues, 3, wait_s=1.5)) == 3
    assert await queues.client.llen("often:wake:email") > 0
    assert len(await fetch(queues, 9, wait_s=1.5)) == 2
    assert not await queues.client.exists("often:wake:email")


async def test_the_number_of_wake_tokens_is_bounded(queues: Queues) -> None:
    await queues.push([*addresses(20), *addresses(20, priority=1)])
    await queues.push(addresses(1))
    assert await queues.client.llen("often:wake:email") == MAX_WAKE_TOKENS


@pytest.mark.parametrize("wait_s", [0.0, 1.5])
async def test_scripts_are_loaded_again_after_a_restart_of_redis(queues: Queues, wait_s: float) -> None:
    await queues.client.script_flush()
    await queues.push([*addresses(1, priority=1), *addresses(1, priority=2)])
    await queues.client.script_flush()
    assert len(await fetch(queues, 3, wait_s=wait_s)) == 2


async def test_a_redis_that_always_loses_its_scripts_refuses_after_one_more_try(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    async def forgotten(text: str) -> None:
        loaded.append(text)
        assert len(loaded) <= 5, "each of the five scripts is loaded once"

    monkeypatch.setattr(queues.client, "script_load", forgotten)
    await queues.client.script_flush()
    with pytest.raises(ServerRefuses, match="lost its Lua scripts immediately after they were loaded"):
        await queues.push(addresses(1))
    assert len(loaded) == 5


async def test_a_redis_that_does_not_answer_counts_as_away() -> None:
    queues = Queues(connect("redis://127.0.0.1:1", socket_timeout_s=0.2))
    with pytest.raises(ServerUnavailable, match="Redis does not answer"):
        await queues.push(addresses(1))
    await queues.client.aclose()
