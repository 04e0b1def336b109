"""Tests of parsing SerpApi's answers, whose invalid parts are ignored."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.hotel.gateways.serpapi import parse_details, parse_page
from tests.hotel_queries import query
from tests.json_values import ANYTHING, objects

GOOD = {"name": "Blue Lagoon", "property_token": "token-1"}
BAD_PRICES: tuple[Any, ...] = ("4200", 0, -1, float("nan"), float("inf"), 1e-300, 10**400, True, [])

rates = objects(extracted_lowest=st.floats(min_value=1, max_value=1e6), lowest=st.text(max_size=3))
rows = objects(
    name=st.just("Blue Lagoon"),
    property_token=st.just("token-1"),
    rate_per_night=rates,
    total_rate=rates,
    prices=st.lists(objects(rate_per_night=rates), max_size=2),
    hotel_class=st.just("5-star hotel"),
    extracted_hotel_class=st.integers(0, 7),
    overall_rating=st.floats(0, 5),
    reviews=st.integers(0, 10**12),
    gps_coordinates=objects(latitude=st.floats(-90, 90), longitude=st.floats(-180, 180)),
    images=st.lists(objects(thumbnail=st.text(), original_image=st.text()), max_size=1),
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "properties": st.lists(rows, max_size=3) | ANYTHING,
        "serpapi_pagination": objects(next_page_token=st.text(max_size=3)),
        "search_parameters": objects(property_token=st.just("token-1")),
        "name": st.just("Blue Lagoon") | ANYTHING,
    },
)


@given(raw=answers)
@settings(max_examples=200, deadline=None)
def test_a_page_is_read_whatever_it_holds(raw: dict[str, Any]) -> None:
    page = parse_page(raw, query())

    given_rows = raw.get("properties")
    one = given_rows is not None or raw.get("name") is not None
    count = len(given_rows) if isinstance(given_rows, list) else one
    assert len(page.rows) + page.unreadable == count
    for row in page.rows:
        assert row.name
        assert row.external_id
        assert row.price is None or 0 < row.price < 10**10
        assert row.star_rating in (None, 1, 2, 3, 4, 5)
        assert row.guest_rating is None or 0 <= row.guest_rating <= 5
        assert row.guest_rating_count is None or 0 <= row.guest_rating_count < 2**31


@given(raw=rows.filter(lambda row: isinstance(row, dict)))
@settings(max_examples=100, deadline=None)
def test_details_are_read_whatever_they_hold(raw: dict[str, Any]) -> None:
    row = parse_details(raw, query())

    # If the input contains NaN, it does not even equal itself, so it cannot be compared.
    assert row is None or (row.name and row.external_id and row.raw == raw) or raw != raw


@pytest.mark.parametrize(
    ("fields", "price", "price_for"),
    [
        ({}, None, "night"),
        ({"rate_per_night": {"lowest": "on request"}}, None, "night"),
        ({"rate_per_night": {"extracted_lowest": 4200.1}}, "4200.1", "night"),
        (
            {"rate_per_night": {"extracted_lowest": 10}, "total_rate": {"extracted_lowest": 30}},
            "10",
            "night",
        ),
        ({"rate_per_night": {}, "total_rate": {"extracted_lowest": 30}}, "30", "stay"),
        (
            {"prices": [{"source": "A"}, {"rate_per_night": {"extracted_lowest": 7}}]},
            "7",
            "night",
        ),
    ],
)
def test_the_price_is_the_first_of_night_stay_and_offers(
    fields: dict[str, Any], price: str | None, price_for: str
) -> None:
    (row,) = parse_page({"properties": [GOOD | fields]}, query()).rows

    assert row.price == (None if price is None else Decimal(price))
    assert row.price_for == price_for
    assert row.currency == "INR"


@pytest.mark.parametrize(
    "row",
    [
        17,
        GOOD | {"name": " "},
        GOOD | {"property_token": 5},
        {"name": "no token"},
        *(GOOD | {"rate_per_night": {"extracted_lowest": price}} for price in BAD_PRICES),
        GOOD | {"rate_per_night": "4200"},
        GOOD | {"total_rate": {"extracted_lowest": "?"}},
        GOOD | {"prices": [{"rate_per_night": 5}]},
    ],
)
def test_invalid_rows_are_counted_and_dropped(row: Any) -> None:
    page = parse_page({"properties": [row, GOOD]}, query())

    assert page.unreadable == 1
    assert [row.external_id for row in page.rows] == ["token-1"]


@pytest.mark.parametrize(
    ("fields", "stars"),
    [
        ({"extracted_hotel_class": 4, "hotel_class": "5-star hotel"}, 4),
        ({"hotel_class": "5-star hotel"}, 5),
        ({"extracted_hotel_class": 9, "hotel_class": "3-star hotel"}, 3),
        ({"hotel_class": "1234 stars"}, None),
        ({"hotel_class": 4}, None),
    ],
)
def test_stars_are_a_number_or_digits_in_a_text(fields: dict[str, Any], stars: int | None) -> None:
    (row,) = parse_page({"properties": [GOOD | fields]}, query()).rows

    assert row.star_rating == stars


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        *(({"overall_rating": rating}, "guest_rating") for rating in ("4", 5.1, -1, True)),
        *(({"reviews": reviews}, "guest_rating_count") for reviews in ("4", 4.5, -1, 2**31)),
        *(({"gps_coordinates": where}, "latitude") for where in ("here", {"latitude": 91}, [1, 2])),
        *(({"images": images}, "image_url") for images in ("a", [5], [{"thumbnail": "javascript:x"}])),
    ],
)
def test_optional_fields_of_a_wrong_kind_stay_empty(fields: dict[str, Any], name: str) -> None:
    (row,) = parse_page({"properties": [GOOD | fields]}, query()).rows

    assert getattr(row, name) is None
    assert row.raw == GOOD | fields


def test_details_without_a_token_are_of_the_hotel_that_was_asked_for() -> None:
    raw = {"name": "Blue Lagoon", "search_parameters": {"property_token": "token-9"}}

    row = parse_details(raw, query())

    assert row is not None
    assert row.external_id == "token-9"
    assert row.raw == raw
    assert parse_details({"error": "Google Hotels hasn't returned any results"}, query()) is None


def test_a_page_can_be_read_again_from_where_it_was_kept() -> None:
    raw = {"properties": [GOOD | {"rate_per_night": {"extracted_lowest": 4200.1}}]}

    kept = msgspec.json.decode(msgspec.json.encode(raw))

    assert parse_page(kept, query()) == parse_page(raw, query())


def test_a_search_that_is_answered_with_one_hotel_is_a_page_of_one() -> None:
    page = parse_page({**GOOD, "rate_per_night": {"extracted_lowest": 10}, "phone": "1"}, query())

    assert [(row.name, row.external_id, row.price) for row in page.rows] == [
        ("Blue Lagoon", "token-1", Decimal(10))
    ]
    assert (page.unreadable, page.next_page) == (0, None)


def test_one_hotel_without_a_handle_is_reported_as_unreadable() -> None:
    page = parse_page({"name": "Blue Lagoon"}, query())

    assert (page.rows, page.unreadable) == ((), 1)
