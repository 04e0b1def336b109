import dataclasses
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import catalogue, document
from shared.contracts.contract import MAX_PARAMS_BYTES, Contract, Params, Result
from shared.contracts.maintenance import CLEANUP_OLD_TASKS
from shared.errors import FieldProblem, InvalidFields, UnknownTask
from tests.installed import INSTALLED

#: Hypothesis strategy for texts that Postgres can store in jsonb.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


class Inner(msgspec.Struct):
    text: str = ""


class Sample(Params):
    number: int
    inner: Inner = msgspec.field(default_factory=Inner)
    values: tuple[float, ...] = ()


class Done(Result):
    text: str = ""
    rooms: tuple[Inner, ...] = ()


class Dated(Params):
    day: date | None = None
    at: datetime | None = None
    others: tuple[datetime, ...] = ()


class Finished(Result):
    at: datetime


CONTRACT = Contract(name="sample.task", queue="default", params=Sample, result=Done)
DATED = Contract(name="sample.dated", queue="default", params=Dated, result=Finished)


@pytest.mark.parametrize(
    ("raw", "field", "rule"),
    [
        ({}, "params.number", "is required"),
        ({"number": "one"}, "params.number", "expected `int`, got `str`"),
        ({"number": 1, "nubmer": 2}, "params.nubmer", "is not a known field"),
        ({"number": 1, "inner": {"text": 3}}, "params.inner.text", "expected `str`, got `int`"),
        ({"number": 1, "values": [1, "x"]}, "params.values[1]", "expected `float`, got `str`"),
        ([], "params", "expected `object`, got `array`"),
        (None, "params", "expected `object`, got `null`"),
    ],
)
def test_wrong_parameters_name_the_field_and_the_rule(raw: Any, field: str, rule: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        CONTRACT.check_params(raw)
    assert refused.value.problems == [FieldProblem(field, rule)]


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"at": "2026-11-22T12:00:00"}, "params.at"),
        ({"at": datetime(2026, 11, 22)}, "params.at"),  # noqa: DTZ001
        ({"others": ["2026-11-22T12:00:00Z", "2026-11-22T12:00:00"]}, "params.others[1]"),
    ],
)
def test_a_time_without_a_zone_is_refused(raw: Any, field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        DATED.check_params(raw)
    (problem,) = refused.value.problems
    assert problem == FieldProblem(field, "must carry a time zone, for example 2026-11-22T12:00:00Z")


def test_a_time_with_a_zone_and_a_day_pass() -> None:
    raw = {"day": "2026-11-22", "at": "2026-11-22T12:00:00+01:00", "others": ["2026-11-22T12:00:00Z"]}
    assert DATED.check_params(raw).others == (datetime(2026, 11, 22, 12, tzinfo=UTC),)


@pytest.mark.parametrize(
    ("contract", "result", "field", "rule"),
    [
        (CONTRACT, Done(text=5), "result.text", "expected `str`, got `int`"),  # type: ignore[arg-type]
        (
            CONTRACT,
            Done(rooms=(Inner(), Inner(None))),  # type: ignore[arg-type]
            "result.rooms[1].text",
            "expected `str`, got `null`",
        ),
        (CONTRACT, Sample(number=1), "result", "must be Done, not Sample"),
        (
            DATED,
            Finished(at=datetime(2026, 11, 22)),  # noqa: DTZ001
            "result.at",
            "must carry a time zone, for example 2026-11-22T12:00:00Z",
        ),
    ],
)
def test_a_result_that_breaks_its_contract_names_the_field_and_the_rule(
    contract: Contract[Any, Any], result: Any, field: str, rule: str
) -> None:
    with pytest.raises(InvalidFields) as refused:
        contract.encode_result(result)
    assert refused.value.problems == [FieldProblem(field, rule)]


def test_a_result_that_keeps_its_contract_is_encoded() -> None:
    assert CONTRACT.encode_result(Done(text="ok")) == '{"text":"ok","rooms":[]}'
    assert (
        DATED.encode_result(Finished(at=datetime(2026, 11, 22, tzinfo=UTC)))
        == '{"at":"2026-11-22T00:00:00Z"}'
    )


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": ["x", "y\x00"]}, "params.a[1]"),
        ({"a\x00": 1}, "params.'a\\x00'"),
        ({"a": float("nan")}, "params.a"),
        ({"a": {"b": float("inf")}}, "params.a.b"),
        ({"a": "\ud800"}, "params.a"),
    ],
)
def test_what_jsonb_cannot_store_is_refused_first(value: Any, field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        document.encode(value, "params", 1_000)
    assert [problem.field for problem in refused.value.problems] == [field]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
        lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    )
)
def test_every_other_document_passes_and_comes_back_the_same(value: Any) -> None:
    assert msgspec.json.decode(document.encode(value, "params", 10**7)) == value


def test_a_text_that_only_looks_like_an_escaped_nul_passes() -> None:
    assert document.encode({"a": "\\u0000"}, "params", 100) == '{"a":"\\\\u0000"}'


def test_parameters_larger_than_the_limit_are_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidFields, match=f"at most {MAX_PARAMS_BYTES} bytes"):
        CONTRACT.encode_params(Sample(number=1, inner=Inner("x" * MAX_PARAMS_BYTES)))


@pytest.mark.parametrize(
    "options", [{"name": "Welcome"}, {"name": "a.b.c"}, {"queue": "Two words"}, {"priority": 10}]
)
def test_a_contract_that_breaks_a_rule_cannot_be_defined(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        dataclasses.replace(CONTRACT, **options)


def test_the_catalogue_finds_every_contract_of_the_package() -> None:
    found = catalogue.load(INSTALLED)
    assert found.get("maintenance.cleanup_old_tasks") is CLEANUP_OLD_TASKS
    assert "maintenance" in found.queues
    with pytest.raises(UnknownTask, match=r"system\.health_check"):
        found.get("maintenance.cleanup_old_task")


def test_two_contracts_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two contracts"):
        catalogue.Catalogue(
            [CONTRACT, Contract(name="sample.task", queue="other", params=Sample, result=Done)]
        )
