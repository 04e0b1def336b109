"""What streams hold and send, whatever arrives, in whatever order, and however slow their clients are."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from services.api.live import message as sse
from services.api.live.bus import MAX_OF_ACCOUNT, Bus, TooManyStreams
from services.api.live.list_stream import MAX_TASKS, ListStream, Wanted
from services.api.live.message import Message, Told
from services.api.live.ring import MAX_REPLAYED, Ring
from services.api.live.task_stream import TaskStream, parse_id
from services.api.live.viewer import Viewer
from shared.identity.tables import Role
from shared.ledger.lifecycle import Status
from shared.transport.events import Changes, TaskChange, decode, encode

VIEWER = Viewer(7, Role.USER, UUID(int=1), None, None)
TASK = UUID(int=5)


def _change(revision: int, status: str = "started", *, task: UUID = TASK, **fields: Any) -> TaskChange:
    return TaskChange(task, revision, status, "sample.wait", "default", **{"owner": 7, **fields})


async def _next(deliveries: AsyncIterator[list[Message]]) -> list[Message]:
    async with asyncio.timeout(5):
        return await anext(deliveries)


def test_a_message_holds_what_was_put_in() -> None:
    changes = Changes(
        [_change(3, progress_message="three", workflow=UUID(int=9), step="scan")], [TASK], [TASK]
    )
    assert decode(encode(changes)) == changes
    # A later release may add fields.
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode(changes)), "new"])
    assert decode(longer) == changes


async def test_states_come_in_the_order_of_their_revisions_however_they_arrive() -> None:
    draws = random.Random(3)
    stream = TaskStream(VIEWER, TASK)
    deliveries = stream.deliveries()
    arriving = list(range(41))
    draws.shuffle(arriving)
    sent, newest = [-1], -1
    for number, revision in enumerate(arriving):
        stream.offer(Told(_change(revision)))
        newest = max(newest, revision)
        if newest > sent[-1] and (draws.random() < 0.3 or number == 40):
            sent += [message.data.change.revision for message in await _next(deliveries)]
    assert sent == sorted(set(sent))
    assert sent[-1] == 40


async def test_a_stream_ends_after_the_final_state() -> None:
    stream = TaskStream(VIEWER, TASK)
    stream.offer(Told(_change(1)))
    stream.offer(Told(_change(2, "success")))
    deliveries = stream.deliveries()
    messages = await _next(deliveries)
    assert [(message.event, message.id) for message in messages] == [("state", "r2.0.0"), ("end", "r2.0.0")]
    with pytest.raises(StopAsyncIteration):
        await anext(deliveries)


async def test_a_list_holds_so_many_tasks_and_counts_the_rest() -> None:
    ring = Ring("a")
    stream = ListStream(VIEWER, 7, Wanted(), None)
    stream.begin(ring)
    deliveries = stream.deliveries()
    assert [message.event for message in await _next(deliveries)] == ["state"]
    for revision in (1, 2):
        for number in range(MAX_TASKS + 50):
            stream.offer(Told(_change(revision, task=UUID(int=number))))
    stream.flush()
    ((_, data, _),) = await _next(deliveries)
    tasks = [msgspec.json.decode(task) for task in data["tasks"]]
    assert (len(tasks), data["overflow"]) == (MAX_TASKS, 100)
    assert {task["revision"] for task in tasks} == {2}


@pytest.mark.parametrize(
    ("reach", "wanted", "owner", "is_shown"),
    [
        (7, Wanted(), 7, True),
        (7, Wanted(), 8, False),
        (7, Wanted(), None, False),
        (None, Wanted(), None, True),
        (7, Wanted(owner=8), 8, False),
        (None, Wanted(owner=8), 8, True),
        (None, Wanted(owner=8), 7, False),
        (None, Wanted(name="sample.other"), 7, False),
        (None, Wanted(queue="default", name="sample.wait"), 7, True),
        (None, Wanted(status=frozenset({Status.FAILURE})), 7, False),
    ],
)
def test_a_list_shows_what_its_reader_may_see_and_wants(
    reach: int | None, wanted: Wanted, owner: int | None, is_shown: bool
) -> None:
    bus = Bus()
    bus.hear()
    stream = ListStream(VIEWER, reach, wanted, None)
    with bus.open(stream):
        bus.take_message(encode(Changes([_change(1, owner=owner)])))
        assert stream._has_news() == is_shown
    # A stream reads what it has missed from one ring with the changes of all users.
    again = ListStream(VIEWER, reach, wanted, f"t{bus.ring.epoch}.0")
    again.begin(bus.ring)
    assert again._has_news() == is_shown


def test_a_ring_gives_what_came_after_an_id_or_says_that_it_cannot() -> None:
    ring = Ring("a")
    first = ring.last_id
    for revision in range(1, 4):
        ring.append(encode(Changes([_change(revision)])), 1)
    assert [change.revision for change in ring.after(first) or ()] == [1, 2, 3]
    assert [change.revision for change in ring.after("ta.2") or ()] == [3]
    assert ring.after(ring.last_id) == []
    for unknown in ("tb.1", "ta.4", "ta.-1", "ta.x", "", "r1.2.3"):
        assert ring.after(unknown) is None
    ring.append(encode(Changes([])), MAX_REPLAYED + 1)
    assert ring.after("ta.3") is None


@pytest.mark.parametrize(
    "garbage", [b"", b"\xc1", b"hello", b"\x91\x91\x01", msgspec.msgpack.encode({"a": 1})]
)
def test_a_message_that_is_none_is_ignored(garbage: bytes) -> None:
    bus = Bus()
    bus.take_message(garbage)
    assert bus.ring.head == 0


def test_an_account_has_room_again_when_a_stream_is_gone() -> None:
    bus = Bus()
    streams = [bus.open(TaskStream(VIEWER, TASK)) for _ in range(MAX_OF_ACCOUNT)]
    for stream in streams:
        bus.check_room(7)
        stream.__enter__()
    with pytest.raises(TooManyStreams, match="Your account has 20"):
        bus.check_room(7)
    bus.check_room(8)
    streams.pop().__exit__(None, None, None)
    bus.check_room(7)
    for stream in streams:
        stream.__exit__(None, None, None)
    assert (bus.tasks, bus.streams) == ({}, set())


@pytest.mark.parametrize(
    "last_id", [None, "", "r", "r1", "r1.2", "r1.2.3.4", "rx.1.2", "r9999999999.1.1", "t1.2.3"]
)
def test_an_id_that_is_not_ours_means_from_the_beginning(last_id: str | None) -> None:
    assert parse_id(last_id) == (-1, (0, 0))
    assert parse_id("r7.2.41") == (7, (2, 41))


def test_a_message_is_written_as_one_event() -> None:
    told = Told(_change(3, progress_message="two\nlines", progress_current=1, progress_total=4))
    text = sse.written([Message("change", told, "r3.0.0"), Message("bye", {"detail": "é"})]).decode()
    first, second, rest = text.split("\n\n")
    assert first.splitlines()[:2] == ["id: r3.0.0", "event: change"]
    (data,) = first.splitlines()[2:]
    state = msgspec.json.decode(data.removeprefix("data: "))
    assert (state["progress_message"], state["progress_percentage"]) == ("two\nlines", 25)
    assert (second, rest) == ('event: bye\ndata: {"detail":"é"}', "")
