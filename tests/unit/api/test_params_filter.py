"""Filters of lists by parameters, as they are read from a query."""

import json

import pytest

from services.api.tasks import params_filter
from shared.errors import InvalidFields


def documents(value: str, name: str = "params.a") -> list[object]:
    return [json.loads(text) for text in params_filter.read([(name, value)])[name]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("seven", [{"a": "seven"}]),
        ("7", [{"a": "7"}, {"a": 7}]),
        ("7.5", [{"a": "7.5"}, {"a": 7.5}]),
        ("true", [{"a": "true"}, {"a": True}]),
        ("null", [{"a": "null"}, {"a": None}]),
        ('"7"', [{"a": '"7"'}, {"a": "7"}]),
        ("[7]", [{"a": "[7]"}]),
        ("NaN", [{"a": "NaN"}]),
        ("1e999", [{"a": "1e999"}]),
        ("", [{"a": ""}]),
    ],
)
def test_a_value_is_a_text_and_what_it_is_in_json(value: str, expected: list[object]) -> None:
    assert documents(value) == expected


def test_dots_lead_into_objects() -> None:
    assert documents("Pune", "params.place.city") == [{"place": {"city": "Pune"}}]


def test_other_parameters_of_the_query_are_left_alone() -> None:
    assert params_filter.read([("status", "failure"), ("paramsx", "1")]) == {}


@pytest.mark.parametrize(
    "query",
    [
        [("params.a", "1"), ("params.a", "2")],
        [(f"params.{letter}", "1") for letter in "abcdef"],
        [("params.a.b.c.d.e.f", "1")],
        [("params.a\n", "1")],
    ],
)
def test_what_is_too_much_is_refused(query: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFields):
        params_filter.read(query)
