"""Tests of what an error of Postgres means for the platform, by its SQLSTATE."""

import asyncpg
import pytest

from shared.errors import ServerAway, ServerRefuses
from shared.ledger import sqlstate
from shared.ledger.sqlstate import Meaning


def answered(state: str, **fields: str) -> asyncpg.PostgresError:
    """The exception that the database driver raises for an error with this SQLSTATE."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "why", **fields})
    return error


PASSING = {
    "25006": "read-only",
    "53100": "disk full",
    "53300": "too many connections",
    "55P03": "lock timeout",
    "57014": "statement canceled",
    "57P01": "administrator's shutdown",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "58030": "input/output error",
    "28P01": "wrong password, for example while it is being rotated",
    "3D000": "database does not exist, for example while it is being restored",
    "XX000": "internal error",
}


@pytest.mark.parametrize("state", PASSING, ids=PASSING.values())
def test_a_passing_condition_makes_the_server_unavailable(state: str) -> None:
    error = answered(state)
    assert sqlstate.meaning(error) is Meaning.PASSING
    unavailable = sqlstate.unavailable(error)
    # 57P01 (the server shuts down) counts as a lost connection, so the server is away. The other
    # errors are refusals by a server that answers.
    assert isinstance(unavailable, ServerAway if state == "57P01" else ServerRefuses)
    assert "why" in str(unavailable)


@pytest.mark.parametrize("state", ["22P05", "22001", "22003", "23505", "23502", "54000"])
def test_a_data_error_is_the_rows_own_fault(state: str) -> None:
    assert sqlstate.meaning(answered(state)) is Meaning.DATA
    assert sqlstate.unavailable(answered(state)) is None


@pytest.mark.parametrize("state", ["42703", "42P01", "42501", "25001", "0A000"])
def test_a_statement_that_does_not_fit_the_database_is_a_defect(state: str) -> None:
    assert sqlstate.meaning(answered(state)) is Meaning.DEFECT
    assert sqlstate.unavailable(answered(state)) is None


def test_a_missing_partition_passes_and_a_broken_check_does_not() -> None:
    assert sqlstate.meaning(answered("23514")) is Meaning.PASSING
    assert sqlstate.meaning(answered("23514", n="task_one_place")) is Meaning.DATA


def test_a_missing_partition_is_named_together_with_who_creates_it() -> None:
    error = answered(
        "23514",
        t="task",
        D="Partition key of the failing row contains (id) = (019ad1b4-9c00-7000-8000-000000000001).",
    )
    assert str(sqlstate.unavailable(error)) == (
        "Postgres refuses for now: the partition task_p20251129 is missing; the leading scheduler creates "
        "it: start one, or read its log [SQLSTATE 23514]"
    )


def test_a_plan_that_went_stale_passes() -> None:
    assert sqlstate.meaning(asyncpg.InvalidCachedStatementError("cached plan")) is Meaning.PASSING


def test_silence_is_distinguished_from_an_answer() -> None:
    assert isinstance(sqlstate.unavailable(TimeoutError()), ServerAway)
    assert isinstance(sqlstate.unavailable(ConnectionRefusedError("refused")), ServerAway)
    assert sqlstate.unavailable(ValueError("a defect of ours")) is None
