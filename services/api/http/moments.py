"""Parses times in query parameters, and refuses times that have no equivalent in UTC."""

from datetime import UTC, datetime
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

#: The rule that `is_in_range` checks.
RANGE_RULE = "must be within the years 1 to 9999 in UTC"


def is_in_range(moment: datetime) -> bool:
    """True if the time exists in UTC, to which the driver of Postgres converts it.

    0001-01-01T00:00:00+01:00 does not, because it would be in the year 0.
    """
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def read(text: str | None, field: str) -> datetime | None:
    """Parse the time in the parameter `field`. Raises InvalidFields."""
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, AwareTime)
    except msgspec.ValidationError:
        rule = "must be a time with a time zone, for example 2026-11-22T12:00:00Z"
        raise InvalidFields([FieldProblem(field, rule)]) from None
    if not is_in_range(moment):
        raise InvalidFields([FieldProblem(field, RANGE_RULE)])
    return moment
