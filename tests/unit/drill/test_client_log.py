"""Tests of the log in which the drill (`make drill`, which breaks parts of the system under load)
keeps requests and answers.
"""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.drill import client_log
from tests.drill.client_log import Accepted, ClientLog

FIRST, SECOND, THIRD = uuid4(), uuid4(), uuid4()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"a": [[FIRST]], "b": [[SECOND]]}, Accepted(frozenset({FIRST, SECOND}), 0, 0)),
        ({"a": [[FIRST], [FIRST]], "b": [[SECOND]]}, Accepted(frozenset({FIRST, SECOND}), 0, 0)),
        ({"a": [[FIRST]], "b": []}, Accepted(frozenset({FIRST}), 1, 0)),
        ({"a": [[FIRST], [THIRD]], "b": [[SECOND]]}, Accepted(frozenset({FIRST, SECOND}), 0, 1)),
        ({"a": [[FIRST]], "b": [[FIRST]]}, Accepted(frozenset({FIRST}), 0, 1)),
        ({"a": [[FIRST, THIRD]], "b": [[SECOND]]}, Accepted(frozenset({FIRST, SECOND, THIRD}), 0, 1)),
    ],
    ids=["as asked", "told twice", "never answered", "two answers", "ids of another key", "too many ids"],
)
def test_the_file_shows_what_was_accepted_and_what_contradicts(
    answers: dict[str, list[list[UUID]]], expected: Accepted, tmp_path: Path
) -> None:
    log = ClientLog(tmp_path / "clients.jsonl")
    for key, told in answers.items():
        log.asks(key, 1)
        for ids in told:
            log.was_told(key, ids)
    log.close()
    assert client_log.read(log.path) == expected
