"""Tests of what event streams contain and send, in whatever order changes arrive, and however slow
the clients are.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import msgspec
import pytest

from services.api.http.connections import MAX_STREAMS
from services.api.live import message as sse
from services.api.live.bus import MAX_OF_ACCOUNT, Bus, TooManyStreams
from services.api.live.list_stream import MAX_TASKS, ListStream, Wanted
from services.api.live.live import Live
from services.api.live.message import Message, Told
from services.api.live.ring import MAX_REPLAYED, Ring
from services.api.live.task_stream import TaskStream, parse_id
from services.api.live.viewer import Viewer
from shared.errors import ServerAway
from shared.identity.tables import Role
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.transport import control
from shared.transport.events import Changes, TaskChange, decode, encode
from shared.transport.queues import Queues, connect
from tests.eventually import eventually

VIEWER = Viewer(7, Role.USER, UUID(int=1), None, None)
TASK = UUID(int=5)


def _change(revision: int, status: str = "started", *, task: UUID = TASK, **fields: Any) -> TaskChange:
    return TaskChange(task, revision, status, "sample.wait", "default", **{"owner": 7, **fields})


async def _next(deliveries: AsyncIterator[list[Message]]) -> list[Message]:
    async with asyncio.timeout(5):
        return await anext(deliveries)


def test_a_decoded_message_equals_the_encoded_one() -> None:
    changes = Changes(
        [_change(3, progress_message="three", workflow=UUID(int=9), step="scan")], [TASK], [TASK]
    )
    assert decode(encode(changes)) == changes
    # A message from a later release may have more fields, which this release must ignore.
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


@pytest.mark.parametrize("held", ["change", "end"])
async def test_a_dismissed_viewer_gets_only_the_dismissal(held: str) -> None:
    stream = TaskStream(VIEWER, TASK)
    deliveries = stream.deliveries()
    stream.offer(Told(_change(1)))
    assert [message.event for message in await _next(deliveries)] == ["state"]
    stream.offer(Told(_change(2)))
    stream.notice("degraded", "")
    if held == "end":
        stream.end("end", "")
    stream.dismiss("Sign in")
    stream.offer(Told(_change(3, "success")))
    stream.stop()
    assert await _next(deliveries) == [Message("expired", {"detail": "Sign in"})]
    with pytest.raises(StopAsyncIteration):
        await anext(deliveries)


async def test_a_viewer_who_is_dismissed_during_a_read_is_not_sent_what_was_read() -> None:
    class Feed:
        async def after(self, seen: object) -> list[Any]:
            stream.dismiss("Sign in")
            return []

    feed: Any = Feed()
    stream = TaskStream(VIEWER, TASK, feed=feed)
    stream.offer(Told(_change(2, "success")))
    assert await _next(stream.deliveries()) == [Message("expired", {"detail": "Sign in"})]


async def test_a_list_has_no_id_of_a_new_ring_before_it_is_read_again() -> None:
    stream = ListStream(VIEWER, 7, Wanted(), None)
    stream.begin(Ring("a"))
    deliveries = stream.deliveries()
    assert [message.id for message in await _next(deliveries)] == ["ta.0"]
    stream.degrade()
    assert [message.event for message in await _next(deliveries)] == ["degraded"]
    stream.recover(0)
    stream.follow(Ring("b"))

    async def sent() -> list[tuple[str, str | None]]:
        stream.offer(Told(_change(1)))
        stream.flush()
        return [(message.event, message.id) for message in await _next(deliveries)]

    assert await sent() == [("change", None)]
    assert stream._ping_id() is None
    stream.tick(float("inf"))
    assert await sent() == [("change", None), ("resync", None)]
    assert stream._ping_id() == "tb.0"
    assert await sent() == [("change", "tb.0")]


async def test_a_list_that_missed_too_much_has_no_id_before_it_is_read_again() -> None:
    stream = ListStream(VIEWER, 7, Wanted(), "ta.0")
    stream.begin(Ring("b"))
    messages = await _next(stream.deliveries())
    assert [(message.event, message.id) for message in messages] == [("state", None), ("resync", None)]
    assert stream._ping_id() == "tb.0"


async def test_a_list_keeps_a_bounded_number_of_tasks_and_counts_the_rest() -> None:
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
    # A stream that continues after an interruption reads what it missed from a ring buffer with the
    # changes of all users, so they must be filtered again.
    again = ListStream(VIEWER, reach, wanted, f"t{bus.ring.epoch}.0")
    again.begin(bus.ring)
    assert again._has_news() == is_shown


def test_a_ring_returns_the_messages_after_an_id_or_none() -> None:
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


NOT_UTF_8 = encode(Changes([_change(1, progress_message="here")])).replace(b"here", b"h\xffre")
#: A message with an unknown field that is nested too deeply. The decoder skips unknown fields, but
#: recurses to do so, and therefore fails.
TOO_DEEP = b"\x94\x90\x90\x90" + b"\x91" * 100_000 + b"\x90"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",
        b"hello",
        b"\x91\x91\x01",
        msgspec.msgpack.encode({"a": 1}),
        pytest.param(NOT_UTF_8, id="not UTF-8"),
        pytest.param(TOO_DEEP, id="too deep"),
        pytest.param(encode(Changes([_change(1, progress_total=0)])), id="a total of 0"),
    ],
)
def test_an_invalid_message_is_ignored(garbage: bytes) -> None:
    bus = Bus()
    with bus.open(stream := TaskStream(VIEWER, TASK)):
        bus.take_message(garbage)
        assert stream._newest is None
    assert bus.ring.head == 0
    with pytest.raises(msgspec.DecodeError):
        decode(garbage)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        pytest.param(b"\x81\xa4type\xa1\xff", id="not UTF-8"),
        pytest.param(b"\x82\xa4type\xa7look_up\xa1x" + b"\x91" * 100_000 + b"\x90", id="too deep"),
    ],
)
def test_an_invalid_message_to_workers_raises_one_kind_of_error(garbage: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        control.decode(garbage)


def test_an_account_has_room_again_when_a_stream_is_gone() -> None:
    bus = Bus()
    rooms = [bus.reserve(7) for _ in range(MAX_OF_ACCOUNT)]
    for room in rooms:
        room.__enter__()
    with pytest.raises(TooManyStreams, match="Your account has 20"), bus.reserve(7):
        pass
    with bus.reserve(8):
        rooms.pop().__exit__(None, None, None)
    with bus.reserve(7), pytest.raises(TooManyStreams), bus.reserve(7):
        pass


def test_a_process_has_room_for_a_bounded_number_of_streams() -> None:
    bus = Bus()
    with ExitStack() as rooms:
        for account in range(MAX_STREAMS):
            rooms.enter_context(bus.reserve(account))
        with pytest.raises(TooManyStreams, match="This process"), bus.reserve(-1):
            pass


@pytest.fixture
def live() -> Live:
    """The part of the API that serves event streams, without servers."""
    database = Database.for_service("postgres://nobody@127.0.0.1:1/nowhere", "test")
    client = connect("redis://127.0.0.1:1/0")
    return Live(database, Queues(client), client, session_life_s=1.0)


@pytest.mark.parametrize("how", ["read", "closed", "never read"])
async def test_a_stream_releases_its_room_however_it_ends(live: Live, how: str) -> None:
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(7))
        frames = await live.frames(ListStream(VIEWER, 7, Wanted(), None), room.pop_all())
    assert len(live.bus.streams) == live.bus._of_account[7] == 1
    if how == "read":
        live.bus.end()
        assert b"event: bye" in b"".join([frame async for frame in frames])
    elif how == "closed":
        await anext(frames)
    del frames
    await eventually(lambda: not live.bus.streams)
    assert not live.bus._of_account


async def test_a_workflow_that_moves_is_read_although_the_first_read_fails(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[UUID]] = []
    first, second = UUID(int=1), UUID(int=2)

    async def workflows(ids: list[UUID]) -> dict[UUID, Any]:
        asked.append(sorted(ids))
        live.bus.moved.add(second)  # the workflow changes during the read
        if len(asked) == 1:
            raise ServerAway("Postgres")
        return {}

    monkeypatch.setattr(live.states, "workflows", workflows)
    live._read_at = float("inf")  # no regular read is due, so only the changes cause reads
    live.bus.moved.add(first)
    with pytest.raises(ServerAway):
        await live._read()
    for _ in range(2):
        await live._read()
    assert asked == [[first], [first, second], [second]]


@pytest.mark.parametrize(
    "last_id", [None, "", "r", "r1", "r1.2", "r1.2.3.4", "rx.1.2", "r9999999999.1.1", "t1.2.3"]
)
def test_an_unknown_id_starts_from_the_beginning(last_id: str | None) -> None:
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
