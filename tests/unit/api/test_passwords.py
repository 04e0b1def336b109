"""Tests of password hashing: the queue of passwords to check, and the stored hashes."""

import contextlib
from collections.abc import Iterator

import argon2
import pytest

from services.api.identity.passwords import MAX_PLACES, MAX_PLACES_OF_ONE, Passwords
from services.api.identity.sign_in_refusals import SignInBusy, TooManySignIns


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


def test_one_network_gets_a_part_of_the_queue_and_all_together_fill_it(passwords: Passwords) -> None:
    with contextlib.ExitStack() as places:
        for _ in range(MAX_PLACES_OF_ONE):
            places.enter_context(passwords.place("192.0.2.1"))
        with pytest.raises(TooManySignIns) as too_many, passwords.place("192.0.2.1"):
            pass
        for number in range(MAX_PLACES - MAX_PLACES_OF_ONE):
            places.enter_context(passwords.place(f"198.51.100.{number}"))
        with pytest.raises(SignInBusy) as busy, passwords.place("203.0.113.1"):
            pass
    assert (too_many.value.status, too_many.value.headers) == (429, {"Retry-After": "1"})
    assert (busy.value.status, busy.value.headers) == (503, {"Retry-After": "2"})
    with passwords.place("192.0.2.1"):
        pass


async def test_a_hash_of_other_parameters_fits_and_is_outdated(passwords: Passwords) -> None:
    former = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
    assert await passwords.fits("correct horse", former)
    assert passwords.is_outdated(former)
    assert not passwords.is_outdated(await passwords.hash("correct horse"))


async def test_an_invalid_stored_hash_matches_nothing(passwords: Passwords) -> None:
    assert not await passwords.fits("correct horse", "")
    assert not await passwords.fits("correct horse", "not a hash")
