"""Tests that no regular expression of a contract or of the API accepts a text that ends with a line
feed.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from examples.contracts import rates
from services.api import app
from shared.contracts import catalogue
from shared.contracts.contract import Contract
from shared.contracts.patterns import END
from shared.settings import Settings
from tests.installed import HOTEL, INSTALLED, NAMES
from tests.platform import VAULT_KEYS


def _patterns(schema: Any) -> Iterator[str]:
    match schema:
        case dict():
            if isinstance(schema.get("pattern"), str):
                yield schema["pattern"]
            for value in schema.values():
                yield from _patterns(value)
        case list():
            for value in schema:
                yield from _patterns(value)


def _of_contracts() -> Iterator[str]:
    of_examples = [value for value in vars(rates).values() if isinstance(value, Contract)]
    for contract in (*catalogue.load(INSTALLED).by_name.values(), *of_examples):
        _, components = msgspec.json.schema_components([contract.params, contract.result])
        yield from _patterns(components)


def _of_routes() -> Iterator[str]:
    nowhere = Settings(
        database_url="postgres://x", redis_url="redis://x", vault_keys=VAULT_KEYS, applications=NAMES
    )
    yield from _patterns(msgspec.to_builtins(app.build(nowhere).openapi_schema.to_schema(), str_keys=True))


PATTERNS = sorted({*_of_contracts(), *_of_routes()})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_ends_with_the_text(pattern: str) -> None:
    assert pattern.startswith("^")
    assert pattern.endswith(END), "write it with shared.contracts.patterns.whole"
    assert "$" not in pattern.removesuffix(END)


@pytest.mark.parametrize("pattern", PATTERNS)
@trials(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_final_line_feed_is_refused(pattern: str, data: st.DataObject) -> None:
    value = data.draw(st.from_regex(pattern))
    assert re.search(pattern, value)
    assert not re.search(pattern, f"{value}\n")


def test_there_are_patterns() -> None:
    assert len(PATTERNS) >= (9 if HOTEL else 1)
