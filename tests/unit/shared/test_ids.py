import itertools
from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.ledger import partitions
from shared.ledger.ids import FIRST_ID, LAST_ID, ids_between, uuid7

days = st.dates(date(2020, 1, 1), date(2100, 1, 1))
times = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants bounds without a zone


@given(times)
def test_bounds_of_ids_contain_the_ids_of_their_time_and_no_later_ones(now: datetime) -> None:
    later = now + timedelta(milliseconds=1)
    first, end = ids_between(now, later)
    assert first <= uuid7(now) < end <= uuid7(later)
    assert ids_between(None, None) == (FIRST_ID, LAST_ID)


@given(times)
def test_an_id_carries_version_variant_and_its_time(now: datetime) -> None:
    made = uuid7(now)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(now.timestamp() * 1000)


@given(times)
def test_an_id_belongs_to_the_partition_of_its_day(now: datetime) -> None:
    today = now.date()
    assert partitions.floor_id(today) <= uuid7(now) < partitions.floor_id(today + timedelta(days=1))


@given(days)
def test_partitions_reach_a_week_ahead_and_follow_each_other(today: date) -> None:
    needed = partitions.days_needed(today)
    assert needed[0] == today - timedelta(days=1)
    assert needed[-1] == today + timedelta(days=7)
    assert {b - a for a, b in itertools.pairwise(needed)} == {timedelta(days=1)}
