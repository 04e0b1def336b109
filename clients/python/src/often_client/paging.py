"""Requests the pages of a list one after another."""

from dataclasses import replace
from typing import TypeVar

from often_client.exchange import Call

A = TypeVar("A")


def next_page(call: Call[A], cursor: str | None) -> Call[A] | None:
    """The call for the next page, with `cursor` from the present page; None after the last page."""
    return None if cursor is None else replace(call, query={**call.query, "cursor": cursor})
