"""Tests of how the client reads event streams: what the bytes mean, and when it connects again."""

import pytest

from often_client import ApiAway, ApiError, UnexpectedAnswer
from often_client.events import MAX_FAILURES, PAUSE_S, Follow
from often_client.exchange import MAX_PAUSE_S, Call, Reply, Session, Unreachable

STREAM = Reply(200, b"", media_type="text/event-stream")


def opened() -> Follow:
    follow = Follow(Session("key"), Call("GET", "events", type(None)))
    follow.request()
    assert follow.opened(STREAM)
    return follow


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_text_with_any_separator_of_lines_stays_one_text(size: int) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf"
    received = f'id: r1\r\nevent: change\r\ndata: {{"message": "{text}"}}\r\n\r\n'.replace("\x0b", "\\u000b")
    received = received.replace("\x0c", "\\u000c")
    follow, sent = opened(), received.encode()
    events = [
        event for start in range(0, len(sent), size) for event in follow.read(sent[start : start + size])
    ]
    assert [(event.event, event.id, event.data) for event in events] == [("change", "r1", {"message": text})]


def test_changes_of_a_list_are_tasks() -> None:
    state = (
        b'{"task_id": "01a22c88-b1fd-7efa-a711-b1505ec01d5d", "revision": 3, "status": "started", '
        b'"task_name": "a.b", "queue": "q", "owner": null, "progress_current": 1, "progress_total": 2, '
        b'"progress_percentage": 50, "progress_message": null, "workflow": null, "step": null}'
    )
    (event,) = opened().read(b'event: change\ndata: {"tasks": [%b], "overflow": 0}\n\n' % state)
    assert [(each.task_name, each.progress_percentage) for each in event.tasks] == [("a.b", 50)]
    (single,) = opened().read(b"event: change\ndata: %b\n\n" % state)
    assert (single.tasks, single.task and single.task.revision) == ([], 3)


def test_a_long_retry_after_is_an_error_and_not_a_wait() -> None:
    follow = opened()
    follow.opened(Reply(503, b"", retry_after_s=MAX_PAUSE_S))
    assert follow.pause_s == MAX_PAUSE_S
    follow.request()
    assert follow.pause_s == PAUSE_S
    with pytest.raises(ApiError) as refused:
        follow.opened(Reply(429, b"", retry_after_s=86_400.0))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 86_400)


@pytest.mark.parametrize(("retry", "pause_s"), [(b"3120", 3.12), (b"9" * 5_000, MAX_PAUSE_S)])
def test_the_pause_that_a_stream_asks_for_is_bounded(retry: bytes, pause_s: float) -> None:
    follow = opened()
    assert not list(follow.read(b"retry: %b\n\n" % retry))
    assert follow.pause_s == pause_s
    follow.request()
    assert follow.pause_s == pause_s


@pytest.mark.parametrize("reply", [Reply(200, b"", media_type="text/html"), Reply(302, b"")])
def test_what_is_no_event_stream_is_refused(reply: Reply) -> None:
    with pytest.raises(UnexpectedAnswer, match="does not come from the API"):
        opened().opened(reply)


def test_an_event_of_another_program_is_an_error_of_the_client() -> None:
    with pytest.raises(UnexpectedAnswer, match="does not come from the API"):
        list(opened().read(b"event: change\ndata: hello\n\n"))


def test_an_api_that_stays_away_ends_the_stream() -> None:
    follow = opened()
    refused = Unreachable(OSError("refused"), was_sent=False)
    for _ in range(MAX_FAILURES):
        follow.broke(refused)
    with pytest.raises(ApiAway, match="refused"):
        follow.broke(refused)


def test_a_half_received_event_is_forgotten_with_its_connection() -> None:
    follow = opened()
    assert not list(follow.read(b"id: r1\nevent: lines\ndata: {"))
    follow.request()
    (event,) = follow.read(b"event: end\ndata: {}\n\n")
    assert (event.event, event.id, follow.is_over) == ("end", None, True)
