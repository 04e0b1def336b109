"""Which new passwords are refused."""

import pytest

from services.api.identity.common_passwords import COMMON
from services.api.identity.passwords import check_new
from shared.errors import InvalidFields


@pytest.mark.parametrize(
    "password",
    ["longlocalpart", "LongLocalPart", "longlocalpart@often.example", "password123", "Password1", "12345678"],
)
def test_what_others_guess_first_is_refused(password: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        check_new("new_password", password, "longlocalpart@often.example")
    assert [problem.field for problem in refused.value.problems] == ["new_password"]


@pytest.mark.parametrize("password", ["correct horse", "longlocalpart2", "pässwort ☃"])
def test_what_others_do_not_guess_is_taken(password: str) -> None:
    check_new("password", password, "longlocalpart@often.example")


def test_the_list_holds_what_comparison_can_find() -> None:
    assert len(COMMON) > 200
    assert {word for word in COMMON if len(word) < 8 or word != word.casefold()} == set()
