"""Parses times in query parameters."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar.params import QueryParameter

from shared.errors import FieldProblem, InvalidFields

AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]
#: Type of a query parameter that contains a time. It is declared as a string, which `read` parses,
#: because Litestar's own parser would accept a number as a time.
Moment = Annotated[
    str | None, QueryParameter(format="date-time", description="With a time zone, 2026-11-22T12:00:00Z")
]


def read(text: str | None, field: str) -> datetime | None:
    """Parse the time in the parameter `field`. Raises InvalidFields."""
    if text is None:
        return None
    try:
        return msgspec.convert(text, AwareTime)
    except msgspec.ValidationError:
        rule = "must be a time with a time zone, for example 2026-11-22T12:00:00Z"
        raise InvalidFields([FieldProblem(field, rule)]) from None
