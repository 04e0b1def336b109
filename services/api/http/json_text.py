"""Parses JSON text in form fields and query parameters."""

import json
from typing import Any

from shared.contracts import nesting


def read(text: str) -> Any:
    """Parse a JSON text. Raises ValueError whose message is the rule that the text breaks."""
    if nesting.is_too_deep(text.encode("utf-8", "replace")):
        raise ValueError(nesting.RULE)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(nesting.RULE) from None
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None
