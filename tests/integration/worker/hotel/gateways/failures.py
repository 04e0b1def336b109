"""Failures of outside services that every gateway has to classify in the same way."""

import traceback
from datetime import timedelta
from typing import Any

#: Bodies of answers that are not JSON objects.
NONSENSE = ("", "<html>busy</html>", "[1, 2]", '{"a": ', "null", "[" * 100_000, '{"a": NaN}')
#: Faults of the sandbox after which a gateway knows nothing but that it got no usable answer.
NO_ANSWER: tuple[dict[str, Any], ...] = (
    {"drop": "before"},
    {"drop": "after"},
    {"drop": "within"},
    {"delay_s": 5.0},
    {"status": 500},
    {"status": 502, "body": "<html>"},
    {"status": 503, "headers": {"retry-after": "5"}},
    *({"status": 200, "body": body} for body in NONSENSE),
)
#: A deadline for a call that ends before the sandbox sends its delayed answer.
IMPATIENT = timedelta(seconds=1.5)


def everything_said(error: BaseException) -> str:
    """The text of an error as a log would show it, including its causes."""
    return "".join(traceback.format_exception(error)) + repr(error)
