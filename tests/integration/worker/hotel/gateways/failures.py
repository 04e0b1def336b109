"""Failures that every gateway sorts alike."""

import traceback
from datetime import timedelta
from typing import Any

#: A body that is no JSON object.
NONSENSE = ("", "<html>busy</html>", "[1, 2]", '{"a": ', "null", "[" * 100_000, '{"a": NaN}')
#: Faults of the sandbox after which nobody knows more than that there was no answer.
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
#: Shorter than the delay above.
IMPATIENT = timedelta(seconds=1.5)


def everything_said(error: BaseException) -> str:
    """As a log has it, with causes."""
    return "".join(traceback.format_exception(error)) + repr(error)
