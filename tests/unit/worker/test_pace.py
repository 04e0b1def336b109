from services.worker.claims.pace import KEPT_S, LOOK_EVERY_S, LOOKS, Pace

EVERY_S = 0.1


def paced(*late_s: float) -> tuple[Pace, float]:
    """Create a Pace that has seen loop rounds which were late by these times.

    Returns it with the time of the last round.
    """
    pace, now = Pace(every_s=EVERY_S), 100.0
    pace.note_round(now)
    for late in late_s:
        now += EVERY_S + late
        pace.note_round(now)
    return pace, now


def answers(pace: Pace, now: float, *waiting: int) -> list[bool]:
    """For each of these numbers of waiting ids, counted at regular intervals: whether the Pace
    concludes that no worker takes the ids.
    """
    return [pace.is_left_alone(now + number * LOOK_EVERY_S, count) for number, count in enumerate(waiting)]


def test_the_interpreter_is_free_while_rounds_come_in_time() -> None:
    pace, now = paced(0.0, KEPT_S * 0.9)
    assert not pace.is_kept(now)


def test_the_interpreter_is_blocked_after_a_late_round() -> None:
    pace, now = paced(0.0, KEPT_S * 1.1)
    assert pace.is_kept(now)


def test_a_round_that_is_late_by_now_counts_before_it_comes() -> None:
    pace, now = paced(0.0)
    assert not pace.is_kept(now + EVERY_S)
    assert pace.is_kept(now + EVERY_S + KEPT_S * 1.1)


def test_one_round_in_time_is_enough_to_go_on() -> None:
    pace, now = paced(KEPT_S * 2, 0.0)
    assert not pace.is_kept(now)


def test_before_the_first_round_the_interpreter_is_free() -> None:
    assert not Pace(every_s=EVERY_S).is_kept(100.0)


def test_ids_that_nobody_takes_are_fetched_after_some_looks() -> None:
    pace, now = paced(KEPT_S * 2)
    taken = [False] * (LOOKS - 1) + [True]
    assert answers(pace, now, *[3] * LOOKS) == taken
    assert answers(pace, now, *range(1, LOOKS + 1)) == taken


def test_ids_that_others_take_are_left_to_them() -> None:
    pace, now = paced(KEPT_S * 2)
    assert not any(answers(pace, now, *[9, 8] * LOOKS))
    assert not any(answers(pace, now, *[1, 0] * LOOKS))


def test_looks_of_an_earlier_block_do_not_count() -> None:
    pace, now = paced(KEPT_S * 2)
    assert not any(answers(pace, now, *[3] * (LOOKS - 1)))
    pace.note_round(now + EVERY_S)
    pace.note_round(now + 2 * EVERY_S + KEPT_S)
    assert answers(pace, now, 3) == [False]


def test_looks_have_an_interval() -> None:
    pace, now = paced(KEPT_S * 2)
    assert pace.may_look(now)
    pace.is_left_alone(now, 1)
    assert not pace.may_look(now + LOOK_EVERY_S * 0.9)
    assert pace.may_look(now + LOOK_EVERY_S)
