"""The type of one page of a list."""

from typing import Generic, TypeVar

from msgspec import Struct

Item = TypeVar("Item")


class Page(Struct, Generic[Item]):
    """One page of a list that the API returns."""

    items: list[Item]
    #: Cursor that requests the next page; None on the last page.
    next_cursor: str | None
