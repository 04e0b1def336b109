"""Tests of how long a workflow rests while members of a group are open."""

from uuid import UUID

import pytest

from services.worker.workflows.rests import FIRST_MEMBER_S, MAX_KNOWN, MAX_S, MEMBER_S, SHARE, Rests

GROUP = UUID(int=1)


def test_the_first_rest_is_short() -> None:
    assert Rests().after(GROUP, 1_000, now=0.0) == 1_000 * FIRST_MEMBER_S


def test_later_rests_take_a_share_of_the_time_that_the_group_still_needs() -> None:
    rests = Rests()
    rests.after(GROUP, 1_000, now=0.0)
    # 200 members have ended in 10 ms, so the other 800 need 40 ms.
    assert rests.after(GROUP, 800, now=0.010) == pytest.approx(SHARE * 0.040)


def test_a_small_group_of_long_tasks_does_not_rest() -> None:
    rests = Rests()
    rests.after(GROUP, 3, now=0.0)
    assert rests.after(GROUP, 2, now=60.0) == 2 * MEMBER_S


def test_no_rest_is_longer_than_the_limit() -> None:
    rests = Rests()
    assert rests.after(GROUP, 1_000_000, now=0.0) == MAX_S
    assert rests.after(GROUP, 999_999, now=60.0) == MAX_S


def test_a_group_that_has_not_moved_rests_for_as_long_as_its_size_allows() -> None:
    rests = Rests()
    rests.after(GROUP, 500, now=0.0)
    assert rests.after(GROUP, 500, now=1.0) == 500 * MEMBER_S


def test_of_a_group_that_has_ended_nothing_is_known() -> None:
    rests = Rests()
    rests.after(GROUP, 1_000, now=0.0)
    rests.forget([GROUP])
    assert rests.after(GROUP, 1_000, now=1.0) == 1_000 * FIRST_MEMBER_S


def test_a_limited_number_of_groups_is_known() -> None:
    rests = Rests()
    for number in range(1, MAX_KNOWN + 2):
        rests.after(UUID(int=number), 1_000, now=0.0)
    assert rests.after(UUID(int=MAX_KNOWN + 1), 500, now=0.010) == pytest.approx(SHARE * 0.010)
    assert rests.after(GROUP, 500, now=0.010) == 500 * FIRST_MEMBER_S
