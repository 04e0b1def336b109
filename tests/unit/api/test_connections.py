"""Tests that the number of connections of an API process stays bounded, whatever happens to their
requests.
"""

import pytest

from services.api.http import connections
from services.api.http.connections import Connections
from services.api.http.refusals import Refusal


class Client:
    """A connection of a client that records how it ended."""

    def __init__(self) -> None:
        self.held, self.reads_header, self.ended = 0, True, ""

    def refuse(self, refusal: Refusal, *, linger_s: float) -> None:
        self.ended = refusal.kind

    def cut(self) -> None:
        self.ended = "cut"


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)


def _working(bounds: Connections) -> Client:
    client = Client()
    bounds.add(client)
    bounds.work_for(client)
    return client


async def test_a_stream_that_ends_takes_the_place_of_a_resting_connection() -> None:
    bounds = Connections(wait_limit_s=10)
    stream = _working(bounds)
    bounds.exempt(stream)
    resting, busy = _working(bounds), _working(bounds)
    bounds.rest(resting)
    assert bounds.readmit(stream)
    assert (resting.ended, busy.ended, bounds.is_full) == ("cut", "", False)


async def test_a_stream_that_ends_finds_no_room_among_requests_in_progress() -> None:
    bounds = Connections(wait_limit_s=10)
    stream = _working(bounds)
    bounds.exempt(stream)
    busy = [_working(bounds) for _ in range(2)]
    assert not bounds.readmit(stream)
    assert ([each.ended for each in busy], bounds.is_full) == (["", ""], False)


async def test_a_stream_whose_client_reads_slowly_makes_no_room() -> None:
    bounds = Connections(wait_limit_s=10)
    stream = _working(bounds)
    bounds.exempt(stream)
    bounds.wait_for(stream)
    resting, _ = _working(bounds), _working(bounds)
    bounds.rest(resting)
    _working(bounds)
    assert (stream.ended, resting.ended, bounds.is_full) == ("", "cut", False)
