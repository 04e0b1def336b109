"""`Retry-After` (RFC 9110, 10.2.3): when somebody who can't at the moment wants to be asked again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

#: Nobody is taken at his word for longer.
LONGEST_S = 86_400.0


def wait_s(response: httpx.Response, now: datetime) -> float | None:
    """Seconds from `now` (aware), 0 to LONGEST_S; null where the answer doesn't say or can't be read."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # The standard's dates are all GMT; some libraries read them without.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_S)
