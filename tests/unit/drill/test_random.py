"""Tests of how the drill's random scenario chooses faults."""

import random

from tests.drill import catalogue
from tests.drill.faults.anything import draw

REPEATABLE = [fault for fault in catalogue.faults(seed=0, seconds=0).values() if fault.parts]


def test_two_faults_at_once_have_no_part_in_common() -> None:
    dice = random.Random(7)
    drawn = [draw(dice, REPEATABLE) for _ in range(300)]
    assert {len(chosen) for chosen in drawn} == {1, 2}
    assert all(not first.parts & second.parts for first, *rest in drawn for second in rest)
    assert {fault.name for chosen in drawn for fault in chosen} == {fault.name for fault in REPEATABLE}


def test_a_seed_repeats_the_order() -> None:
    orders = [
        [[f.name for f in draw(dice, REPEATABLE)] for _ in range(20)] for dice in map(random.Random, (7, 7))
    ]
    assert orders[0] == orders[1]
