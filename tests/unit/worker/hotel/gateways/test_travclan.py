"""Tests of parsing TravClan's answers, whose invalid parts are ignored."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.hotel.gateways.travclan import parse_page, parse_rooms
from services.worker.hotel.gateways.travclan_session import token_life_s
from tests.hotel_queries import query
from tests.json_values import ANYTHING, objects

GOOD = {"id": 7, "hotelName": "Blue Lagoon"}

rates = objects(
    finalRate=st.floats(min_value=1, max_value=1e6),
    currency=st.just("INR"),
    boardBasis=objects(description=st.text(max_size=3), type=st.text(max_size=3)),
    refundability=st.text(max_size=3),
)
rows = objects(
    id=st.integers(1, 9),
    hotelId=st.text(max_size=3),
    hotelName=st.just("Blue Lagoon"),
    name=st.text(max_size=3),
    starRating=st.integers(0, 7),
    heroImage=st.text(max_size=3),
    availability=objects(rate=rates),
)
inner = objects(
    data=st.lists(rows, max_size=3),
    traceId=st.text(max_size=3),
    options=st.dictionaries(
        st.text(max_size=3), objects(roomName=st.text(max_size=3), rate=rates), max_size=3
    ),
)
answers = st.dictionaries(st.sampled_from(["results", "data", "traceId", "options"]), inner | ANYTHING)


@given(raw=answers)
@settings(max_examples=200, deadline=None)
def test_a_page_is_read_whatever_it_holds(raw: dict[str, Any]) -> None:
    page = parse_page(raw, query(), None)

    assert page.rows or page.unreadable or page.next_page is None
    for row in page.rows:
        assert row.name
        assert row.external_id
        assert row.price is None or 0 < row.price < 10**10
        assert len(row.currency) == 3
        assert row.star_rating in (None, 1, 2, 3, 4, 5)


@given(raw=answers)
@settings(max_examples=200, deadline=None)
def test_rooms_are_read_whatever_they_hold(raw: dict[str, Any]) -> None:
    for offer in parse_rooms(raw):
        assert 0 < offer.price < 10**10
        assert len(offer.currency) == 3


@pytest.mark.parametrize(
    "raw",
    [
        {"results": {"data": [GOOD], "traceId": "t"}},
        {"data": [GOOD], "traceId": "t"},
        {"results": [GOOD]},
    ],
)
def test_rows_are_found_with_and_without_their_wrapping(raw: dict[str, Any]) -> None:
    page = parse_page(raw, query(currency="USD"), None)

    assert [(row.external_id, row.name, row.price) for row in page.rows] == [("7", "Blue Lagoon", None)]
    assert page.next_page is None
    assert page.unreadable == 0


@pytest.mark.parametrize(
    ("raw", "asked", "next_page"),
    [
        ({"results": {"data": [GOOD] * 20, "traceId": "t"}}, None, "2:t"),
        ({"data": [GOOD] * 20}, "2:kept", "3:kept"),
        ({"data": [GOOD] * 20}, None, "2:"),
        ({"data": [GOOD] * 19 + [None]}, "4:t", "5:t"),
        ({"data": [GOOD] * 19}, "4:t", None),
    ],
)
def test_a_full_page_has_a_next_one(raw: dict[str, Any], asked: str | None, next_page: str | None) -> None:
    assert parse_page(raw, query(), asked).next_page == next_page


@pytest.mark.parametrize(
    "row",
    [
        "hotel",
        {"hotelName": "no id"},
        {"id": 7},
        {"id": True, "name": "an id that is none"},
        GOOD | {"availability": "?"},
        GOOD | {"availability": {"rate": {"finalRate": "900", "currency": "INR"}}},
        GOOD | {"availability": {"rate": {"finalRate": 900}}},
        GOOD | {"availability": {"rate": {"finalRate": 900, "currency": "rupees"}}},
    ],
)
def test_invalid_rows_are_counted_and_dropped(row: Any) -> None:
    page = parse_page({"results": {"data": [row, GOOD]}}, query(), None)

    assert (len(page.rows), page.unreadable) == (1, 1)


def test_an_answer_without_a_list_is_no_empty_page() -> None:
    assert parse_page({"results": {"hotels": "?"}}, query(), None).unreadable == 1
    assert parse_page({"results": {"data": []}}, query(), None).unreadable == 0


def test_a_price_is_for_the_stay_and_in_its_own_currency() -> None:
    rate = {"finalRate": 9000.5, "currency": "inr"}
    (row,) = parse_page({"data": [GOOD | {"availability": {"rate": rate}}]}, query(currency="USD"), None).rows

    assert (row.price, row.currency, row.price_for) == (Decimal("9000.5"), "INR", "stay")


def test_offers_without_a_price_are_left_out() -> None:
    rate = {"finalRate": 5000, "currency": "INR", "refundability": "Refundable", "boardBasis": {"type": "RO"}}
    options = {
        "a": {"roomName": "Suite", "rate": rate},
        "b": {"roomName": "Suite"},
        "c": 5,
        "d": {"rate": rate | {"refundability": True, "boardBasis": "RO"}},
        "e": {"rate": {"currency": "INR"}},
    }

    offers = parse_rooms({"results": {"options": options}})

    assert [(o.option_id, o.room_name, o.price, o.refundability, o.board) for o in offers] == [
        ("a", "Suite", Decimal(5000), "Refundable", "RO"),
        ("d", None, Decimal(5000), None, None),
    ]
    assert offers[1].raw == options["d"]


@pytest.mark.parametrize(
    ("tokens", "seconds"),
    [
        ({"ExpiresIn": 600}, 600),
        ({"expiresIn": "600"}, 600),
        ({"expires_in": 600.5}, 600.5),
        ({"ExpiresIn": None, "expires_in": 60}, 60),
        ({}, 3600),
        ({"ExpiresIn": "soon"}, 3600),
        ({"ExpiresIn": -5}, 3600),
        ({"ExpiresIn": 10**400}, 3600),
    ],
)
def test_the_life_of_a_token_is_read_in_every_spelling(tokens: dict[str, Any], seconds: float) -> None:
    assert token_life_s(tokens) == seconds
