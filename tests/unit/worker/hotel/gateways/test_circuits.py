"""Tests of circuit breakers, which stop calls to a provider that keeps failing."""

import time

import pytest

from services.worker.hotel.gateways.circuits import FAILURES, REST_S, Circuits, Resting


class Down(Exception):
    pass


async def fail(circuits: Circuits, part: str) -> None:
    for _ in range(FAILURES):
        with pytest.raises(Down):
            async with circuits.watched(part):
                raise Down


async def test_a_part_counts_as_resting_until_its_rest_is_over_without_a_further_call() -> None:
    began = now = time.time()
    circuits = Circuits(Down, clock=lambda: now)
    await fail(circuits, "quotes")
    await fail(circuits, "bookings")
    with pytest.raises(Resting):
        async with circuits.watched("quotes"):
            pass
    now = began + REST_S
    assert circuits.resting == 2
    now = time.time() + REST_S + 0.001
    assert circuits.resting == 0
