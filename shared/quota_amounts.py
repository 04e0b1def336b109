"""Parses the value of a quota setting, such as `user=50, viewer=10`: a limit for each role. A role
that is not named has no limit.
"""

import re

#: Names of the roles, as in `shared.identity.tables.Role`. A test checks that both are equal.
ROLES = ("user", "viewer", "operator", "administrator")
#: Value of a quota setting if no role has a limit. An empty value would select the default instead.
UNLIMITED = "none"
_AMOUNT = re.compile(rf"({'|'.join(ROLES)})=(0|[1-9][0-9]{{0,8}})")


def amounts(text: str) -> dict[str, int]:
    """Parse a valid quota setting: the limit of each role."""
    return {role: int(amount) for role, amount in _AMOUNT.findall(text)}


def problem(text: str, highest: int = 999_999_999) -> str | None:
    """The rule that the text of a quota setting breaks, or None if it is valid."""
    if text == UNLIMITED:
        return None
    parts = [_AMOUNT.fullmatch(part.strip()) for part in text.split(",")]
    roles = [part[1] for part in parts if part]
    if len(roles) < len(parts) or len(set(roles)) < len(roles):
        choices = f"{', '.join(ROLES[:-1])} or {ROLES[-1]}"
        return f"must be like user=50,viewer=10 (each of {choices} at most once) or none, not {text[:40]!r}"
    if max(amounts(text).values()) > highest:
        return f"must be at most {highest} for every role, not {text[:40]!r}"
    return None
