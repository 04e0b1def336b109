"""Formats times, durations, numbers and ids for the console.

The functions are pure; the current time is an argument.
"""

import json
from datetime import UTC, datetime
from typing import Any

#: Units of a duration, largest first: the number of seconds and the abbreviation.
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float | None) -> str:
    """Format a duration in at most two units: `210 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4
    h`.
    """
    if seconds is None:
        return "—"
    if seconds < 0.9995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for index, (size, unit) in enumerate(_UNITS):
        if whole >= size:
            first, rest = divmod(whole, size)
            lower, lower_unit = _UNITS[index + 1] if index + 1 < len(_UNITS) else (1, "")
            second = rest // lower if lower_unit else 0
            return f"{first} {unit} {second} {lower_unit}" if second else f"{first} {unit}"
    return f"{whole} s"


def relative(moment: datetime, now: datetime) -> str:
    """Format a time relative to the current time, in one unit: `12 s ago`, `in 4 min`, `now`."""
    seconds = (now - moment).total_seconds()
    size = abs(seconds)
    if size < 1:
        return "now"
    steps = ((60, 1, "s"), (3_600, 60, "min"), (172_800, 3_600, "h"), (float("inf"), 86_400, "d"))
    _, unit_s, unit = next(step for step in steps if size < step[0])
    text = f"{int(size // unit_s)} {unit}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def exact(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%H:%M:%S")


def number(value: float) -> str:
    """Format a number with separated thousands and at most two decimals."""
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def size(count: int | None) -> str:
    """Format an amount of memory, such as `12 MB`."""
    if count is None:
        return "—"
    return f"{count / 1_048_576:,.0f} MB"


def short_id(value: object) -> str:
    """The last characters of an id. Ids created on the same day begin alike, so their ends differ
    most.
    """
    return str(value)[-8:]


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
