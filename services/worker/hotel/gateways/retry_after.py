"""Reads the header `Retry-After` (RFC 9110, 10.2.3) of a response.

With it, an overloaded service says how long clients should wait.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

#: Upper bound, in seconds, for any Retry-After that we honor.
MAX_WAIT_S = 86_400.0


def wait_s(response: httpx.Response, now: datetime) -> float | None:
    """Return the number of seconds to wait from `now`, between 0 and MAX_WAIT_S.

    `now` must have a time zone. Returns None if the header is missing or unreadable.
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), MAX_WAIT_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # Dates in this header are always in GMT. Python parses some of them without a time zone.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_WAIT_S)
