"""Tests of the rounds that go on after Postgres has canceled a statement of one item."""

import pytest

from services.scheduler.slow_items import MAX_CANCELED, SlowItems
from shared.errors import ServerAway, ServerRefuses
from shared.ledger import sqlstate


def canceled() -> ServerRefuses:
    return ServerRefuses("Postgres", "canceling statement", sqlstate=sqlstate.QUERY_CANCELED)


def fail(items: SlowItems[str], item: str) -> None:
    with items.tolerating(item):
        raise canceled()


def test_an_item_whose_statement_was_canceled_comes_last_until_it_succeeds() -> None:
    items = SlowItems[str]("schedule")
    assert items.begin_round("abc") == (["a", "b", "c"], [])
    fail(items, "a")
    assert items.begin_round("abc") == (["b", "c"], ["a"])
    with items.tolerating("a"):
        pass
    assert items.begin_round("abc") == (["a", "b", "c"], [])


def test_an_item_that_is_gone_is_forgotten() -> None:
    items = SlowItems[str]("schedule")
    fail(items, "a")
    items.begin_round("b")
    assert items.begin_round("ab") == (["a", "b"], [])


def test_a_round_with_a_canceled_statement_fails_at_its_end_and_the_next_one_does_not() -> None:
    items = SlowItems[str]("schedule")
    fail(items, "a")
    with pytest.raises(ServerRefuses, match="canceling"):
        items.end_round()
    items.begin_round("ab")
    items.end_round()


def test_a_round_ends_at_once_when_many_statements_were_canceled() -> None:
    items = SlowItems[str]("schedule")
    for number in range(MAX_CANCELED - 1):
        fail(items, str(number))
    with pytest.raises(ServerRefuses, match="canceling"):
        fail(items, "one more")


@pytest.mark.parametrize(
    "error", [ServerAway("Postgres"), ServerRefuses("Postgres", "disk full", sqlstate="53100")]
)
def test_an_error_of_the_server_ends_a_round(error: Exception) -> None:
    items = SlowItems[str]("schedule")
    with pytest.raises(type(error)), items.tolerating("a"):
        raise error
    assert items.begin_round("a") == (["a"], [])
