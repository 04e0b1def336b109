"""Formats numbers and durations for API messages and console pages. Pure functions."""


def plural(count: int, one: str, many: str | None = None) -> str:
    """Format a number with its noun, such as `1 task` or `2,000 tasks`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """Format a duration with at most two units, such as `1 h 5 min`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(shown) or "0 s"
