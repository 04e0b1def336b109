"""How settings write the amounts of a quota: `user=50, viewer=10`. A role that is not named has no limit."""

import re

#: As `shared.identity.tables.Role` names them; a test compares the two.
ROLES = ("user", "viewer", "operator", "administrator")
#: The setting's value when no role has a limit. An empty value would mean the default.
UNLIMITED = "none"
_AMOUNT = re.compile(rf"({'|'.join(ROLES)})=(0|[1-9][0-9]{{0,8}})")


def amounts(text: str) -> dict[str, int]:
    """The amounts by role of a setting that breaks no rule."""
    return {role: int(amount) for role, amount in _AMOUNT.findall(text)}


def problem(text: str, highest: int = 999_999_999) -> str | None:
    """The rule that the setting of a quota breaks, if any."""
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
