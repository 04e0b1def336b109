"""Tests of which new passwords are refused."""

import pytest

from services.api.identity.account_schemas import MIN_PASSWORD
from services.api.identity.common_passwords import COMMON
from services.api.identity.new_passwords import check_new
from shared.errors import InvalidFields

ADDRESS = "ann.longlocalpart@bali-sunrise.example"
WORDS = ["Often Tasks", "Often Hotels"]


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("password123", "most common"),
        ("Password1", "most common"),
        ("12345678", "most common"),
        ("longlocalpart", "email address"),
        ("AnnLongLocalPart", "email address"),
        ("LongLocalPart-2026", "email address"),
        ("sunrise!!sunrise", "email address"),
        (ADDRESS.upper(), "email address"),
        ("oftenhotels", "name of this service"),
        ("OftenHotels2026!", "name of this service"),
        ("often-tasks-often", "name of this service"),
        ("hotels99", "name of this service"),
        (" " * 8, "one character"),
        ("x" * 12, "one character"),
        ("§§§§ §§§§", "one character"),
    ],
)
def test_common_passwords_are_refused(password: str, reason: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        check_new("new_password", password, ADDRESS, WORDS)
    (problem,) = refused.value.problems
    assert problem.field == "new_password"
    assert reason in problem.rule
    assert "choose another one" in problem.rule


@pytest.mark.parametrize(
    "password",
    [
        "correct horse",
        "often a correct horse",
        "annual report",
        "pässwort ☃",
        "73920184 55",
        "a1b2ann45e6f7a89",
        "sunrise over kuta",
    ],
)
def test_uncommon_passwords_are_accepted(password: str) -> None:
    check_new("password", password, ADDRESS, WORDS)


def test_the_list_is_as_long_as_asvs_requires_and_in_comparable_form() -> None:
    assert len(COMMON) > 3_000
    assert {word for word in COMMON if len(word) < MIN_PASSWORD or word != word.casefold()} == set()
