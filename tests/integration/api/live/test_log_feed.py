"""Tests that several event streams read the log lines of one task, each from its own position."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from services.api.live import log_feed
from services.api.live.log_feed import SHARE, START, LogFeed, Position
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

LOG = """
    INSERT INTO task_log (task_id, claim, ordinal, logged_at, level, message)
    SELECT {}, 1, n, now(), 'info', n::text FROM generate_series({}::integer, {}::integer) AS n
"""
#: A position in the log that no line has. A client may send any position.
FUTURE = Position(999_999_999, 999_999_999)


class Counting:
    """A database connection that counts its statements."""

    def __init__(self, platform: Platform) -> None:
        self._run = platform.database.run
        self.count = 0

    async def run(self, *arguments: Any, **values: Any) -> Any:
        self.count += 1
        return await self._run(*arguments, **values)


class Reader:
    """Reads log lines as an event stream does: again at once after a full portion, and otherwise
    when there are new lines.
    """

    def __init__(self, feed: LogFeed, seen: Position) -> None:
        self.feed, self.seen = feed, seen
        self.lines: list[int] = []

    async def read(self) -> None:
        lines = await self.feed.after(self.seen)
        self.lines += [int(each.line.message) for each in lines]
        if lines:
            self.seen = lines[-1].position
        if len(lines) == SHARE:
            await self.read()


async def _task(platform: Platform) -> UUID:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    return task_id


def _numbers(first: int, last: int) -> Sequence[int]:
    return list(range(first, last + 1))


@pytest.mark.parametrize("first", [Position(1, 90), FUTURE], ids=["a real id", "an id that is made up"])
async def test_each_stream_gets_all_lines_after_its_position(platform: Platform, first: Position) -> None:
    task_id = await _task(platform)
    await platform.rows(LOG, task_id, 1, 100)
    database: Any = Counting(platform)
    feed = LogFeed(database, task_id)
    readers = [Reader(feed, seen) for seen in (first, START, Position(1, 50), Position(1, 100))]
    for reader in readers:
        await reader.read()
    await platform.rows(LOG, task_id, 101, 103)
    # While Redis is unavailable, no message reports new log lines, so the API finds them with a
    # query.
    assert await log_feed.with_news(database, [feed]) == [task_id]
    feed.note_new()
    before = database.count
    for reader in readers:
        await reader.read()
    assert database.count - before == 1
    assert await log_feed.with_news(database, [feed]) == []
    expected = [_numbers(1, 103), _numbers(51, 103), _numbers(101, 103)]
    assert [reader.lines for reader in readers[1:]] == expected
    assert readers[0].lines == ([] if first == FUTURE else _numbers(91, 103))


async def test_a_stream_ahead_of_the_feed_misses_no_line(
    platform: Platform,
) -> None:
    task_id = await _task(platform)
    feed = LogFeed(platform.database, task_id)
    behind = Reader(feed, START)
    await behind.read()
    await platform.rows(LOG, task_id, 1, 2 * SHARE + 100)
    ahead = Reader(feed, Position(1, SHARE - 10))
    feed.note_new()
    for reader in (ahead, behind):
        await reader.read()
    assert ahead.lines == _numbers(SHARE - 9, 2 * SHARE + 100)
    assert behind.lines == _numbers(1, 2 * SHARE + 100)
