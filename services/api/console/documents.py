"""Prepares a task's parameters and result for pages, which show them as a tree or as JSON."""

from typing import Any, Final

from services.api.console.formats import as_json
from shared.vault import MASK

#: Maximum number of characters of a document that a page shows. A larger one is cut off, because it
#: would fill most of the page.
MOST_CHARACTERS: Final = 60_000
#: Maximum number of members of one JSON object or array that a tree view shows.
MOST_MEMBERS: Final = 200
#: Maximum depth of a tree view. The template recurses several calls deep for each level.
MOST_LEVELS: Final = 30


def shown(value: Any) -> tuple[str, bool]:
    """Return the document as JSON, cut off at the maximum length, and True if it is complete."""
    text = as_json(value)
    return text[:MOST_CHARACTERS], len(text) <= MOST_CHARACTERS


def is_masked(value: Any) -> bool:
    """True if this value of a document is masked because the reader may not see it."""
    return isinstance(value, dict) and MASK in value.values()
