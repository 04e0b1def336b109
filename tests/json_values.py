"""Hypothesis strategies for JSON values, as any client could send them."""

from typing import Any

from hypothesis import strategies as st

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5-star hotel", "4", "INR", "https://often-hotels.example/a.jpg"])
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A strategy for JSON objects with some of these fields.

    A field's value follows its strategy or is arbitrary. It also yields values that are no objects.
    """
    return st.fixed_dictionaries({}, optional={n: v | ANYTHING for n, v in fields.items()}) | ANYTHING
