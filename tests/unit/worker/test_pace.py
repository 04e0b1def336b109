from services.worker.claims.pace import KEPT_FETCH_S, KEPT_S, Pace

EVERY_S = 0.1


def paced(*late_s: float) -> tuple[Pace, float]:
    """A pace after rounds that came so late, and the time of the last one."""
    pace, now = Pace(every_s=EVERY_S), 100.0
    pace.note_round(now)
    for late in late_s:
        now += EVERY_S + late
        pace.note_round(now)
    pace.note_fetch(now)
    return pace, now


def test_a_worker_whose_rounds_come_in_time_fetches_at_once() -> None:
    pace, now = paced(0.0, KEPT_S * 0.9)
    assert pace.may_fetch(now)


def test_after_a_late_round_it_fetches_now_and_then() -> None:
    pace, now = paced(0.0, KEPT_S * 1.1)
    assert not pace.may_fetch(now)
    assert not pace.may_fetch(now + KEPT_FETCH_S * 0.9)
    assert pace.may_fetch(now + KEPT_FETCH_S)


def test_a_round_that_is_late_by_now_counts_before_it_comes() -> None:
    pace, now = paced(0.0)
    assert pace.may_fetch(now + EVERY_S)
    assert not pace.may_fetch(now + EVERY_S + KEPT_S * 1.1)


def test_one_round_in_time_is_enough_to_go_on() -> None:
    pace, now = paced(KEPT_S * 2, 0.0)
    assert pace.may_fetch(now)


def test_before_the_first_round_a_worker_fetches() -> None:
    assert Pace(every_s=EVERY_S).may_fetch(100.0)
