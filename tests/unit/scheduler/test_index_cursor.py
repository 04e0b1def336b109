"""Tests of the cursor that limits the times that the leader reads from an index."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from services.scheduler.dispatcher import EVERY_S as DUE_EVERY_S
from services.scheduler.index_cursor import DIVIDED, NEWEST, WINDOW, IndexCursor, Look
from services.scheduler.lane_check import EVERY_S as LANES_EVERY_S
from services.scheduler.lane_check import WINDOW as LANE_WINDOW
from shared.backlog import BEGINNING

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def moved(count: int) -> IndexCursor:
    """A cursor that has moved forward by one window, this number of times. It ends at NOON."""
    cursor = IndexCursor()
    for number in range(count):
        cursor.note_empty(NOON - (count - 1 - number) * WINDOW)
    return cursor


def windows(cursor: IndexCursor, count: int) -> list[tuple[datetime, datetime]]:
    """The windows that the next queries read."""
    return [(look.window_start, look.window_end) for look in (cursor.look() for _ in range(count))]


def test_the_first_look_reads_everything() -> None:
    assert IndexCursor().look().after == BEGINNING


def test_a_look_reads_what_follows_the_cursor() -> None:
    assert moved(1).look().after == NOON


def test_the_cursor_moves_in_whole_windows_and_never_back() -> None:
    cursor = moved(1)
    for moment in (NOON + WINDOW / 2, NOON - timedelta(hours=1)):
        cursor.note_empty(moment)
    assert cursor.look().after == NOON


def test_the_windows_cover_all_earlier_times_in_turn() -> None:
    ends = [NOON - 2 * WINDOW, NOON - WINDOW, NOON]
    every = list(zip([BEGINNING, *ends], ends, strict=False))
    assert windows(moved(3), 7)[::2] == [*every, every[0]]


def test_every_other_look_reads_one_of_the_newest_windows_in_turn() -> None:
    newest = windows(moved(20), 2 * NEWEST + 2)[1::2]
    assert newest == [(NOON - (n + 1) * WINDOW, NOON - n * WINDOW) for n in (*range(NEWEST), 0)]


def rounds(cursor: IndexCursor, every: timedelta, start: datetime, end: datetime) -> Iterator[Look]:
    """The looks of a service that runs at this interval, and finds nothing in any of them."""
    for number in range((end - start) // every):
        yield cursor.look()
        cursor.note_empty(start + (number + 1) * every)


@pytest.mark.parametrize(
    ("every", "window", "cycle"),
    [
        pytest.param(timedelta(seconds=DUE_EVERY_S), WINDOW, timedelta(minutes=3), id="dispatcher"),
        pytest.param(timedelta(seconds=LANES_EVERY_S), LANE_WINDOW, timedelta(minutes=20), id="lanes"),
    ],
)
@pytest.mark.parametrize("age_min", [1, 10, 30, 58, 61, 90])
def test_each_earlier_time_has_its_turn_in_time_whatever_the_age_of_the_term(
    every: timedelta, window: timedelta, cycle: timedelta, age_min: int
) -> None:
    cursor, later = IndexCursor(window), NOON + timedelta(minutes=age_min)
    for _ in rounds(cursor, every, NOON, later):
        pass
    behind = [cursor.after - number * window / 2 for number in range(1, 2 * DIVIDED // window + 4)]
    looks = list(rounds(cursor, every, later, later + cycle + 2 * every))
    missed = [time for time in behind if not any(reads(look, time) for look in looks)]
    assert missed == []


def reads(look: Look, time: datetime) -> bool:
    return look.window_start < time <= look.window_end


@pytest.mark.parametrize("window", [WINDOW, 6 * WINDOW])
def test_old_windows_become_one(window: timedelta) -> None:
    cursor, most = IndexCursor(window), DIVIDED // window
    for number in range(most + 5):
        cursor.note_empty(NOON + number * window)
    starts = [start for start, _ in windows(cursor, 2 * most)[::2]]
    assert (len(set(starts)), min(starts)) == (most, BEGINNING)


def test_the_cursor_starts_again_if_the_clock_was_set_back_behind_it() -> None:
    cursor = moved(1)
    assert not cursor.restart_if_ahead_of(NOON)
    assert cursor.look().after == NOON
    assert cursor.restart_if_ahead_of(NOON - timedelta(seconds=1))
    assert cursor.look().after == BEGINNING


def test_a_new_term_begins_at_the_start() -> None:
    cursor = moved(1)
    cursor.restart()
    assert cursor.look().after == BEGINNING
