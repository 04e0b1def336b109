"""Tests that JSON documents are refused by the number of nested levels, whatever their texts
contain.
"""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import document, nesting
from shared.contracts.nesting import MAX_DEPTH
from shared.errors import InvalidFields

DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\\\,:a', max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[{"\\\\'), inner, max_size=4),
)


def _nested(levels: int, value: object = 0) -> object:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("levels", [0, 1, MAX_DEPTH, MAX_DEPTH + 1, 3 * MAX_DEPTH])
def test_the_limit_is_exact(levels: int) -> None:
    assert nesting.is_too_deep(json.dumps(_nested(levels)).encode()) is (levels > MAX_DEPTH)


@given(DOCUMENTS, st.integers(0, MAX_DEPTH + 5))
def test_only_levels_count(document: object, more: int) -> None:
    """Only the number of levels counts, and not the number of objects and lists or the contents of
    texts.
    """
    found = [_nested(more, document), *[[]] * MAX_DEPTH]
    assert nesting.is_too_deep(json.dumps(found).encode()) is (_levels(found) > MAX_DEPTH)


def _levels(value: object) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if members is None else 1 + max(map(_levels, members), default=0)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"]" * 100_000, b'"' + b"[]" * 100_000, b'{"\\"' + b"[}" * 200]
)
def test_what_is_no_json_is_left_to_the_decoder(text: bytes) -> None:
    nesting.is_too_deep(text)
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        msgspec.json.decode(text)


@pytest.mark.parametrize("levels", [MAX_DEPTH, 100_000])
def test_a_document_that_is_nested_too_deeply_is_not_stored(levels: int) -> None:
    with pytest.raises(InvalidFields, match=f"params: {nesting.RULE}"):
        document.encode({"a": _nested(levels)}, "params", 10**7)
