"""Tests of reading the filters of a task list by task parameters from a query string."""

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
def test_a_value_matches_as_text_and_as_json(value: str, expected: list[object]) -> None:
    assert documents(value) == expected


@pytest.mark.parametrize("value", ["\x00", '"a\\u0000"', '"\\ud800"', '"\\udc00b"', "\ud800"])
def test_a_text_that_postgres_cannot_search_for_is_refused_by_name_and_rule(value: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        params_filter.read([("params.a", value)])
    (problem,) = refused.value.problems
    assert problem.field == "params.a"
    assert problem.rule.startswith("must not contain")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert documents('"\\ud83d\\ude00"')[1] == {"a": "\N{GRINNING FACE}"}


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
def test_too_many_or_too_long_filters_are_refused(query: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFields):
        params_filter.read(query)
