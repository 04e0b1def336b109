"""Defines how the console shows a state: with an icon, a word and a color, so never by color alone."""

from typing import NamedTuple


class Sign(NamedTuple):
    #: Name of the icon that represents the state; see templates/icons.html.j2.
    icon: str
    word: str
    #: CSS class that sets the color of the state.
    tone: str


#: The icon, word and color for each status of a task or workflow, each outcome of an attempt, and
#: each state of a worker or bulk operation.
SIGNS: dict[str, Sign] = {
    "pending": Sign("circle", "waiting", "idle"),
    "started": Sign("play", "running", "busy"),
    "retry": Sign("retry", "retrying", "warn"),
    "success": Sign("check", "succeeded", "good"),
    "failure": Sign("cross", "failed", "bad"),
    "revoked": Sign("slash", "canceled", "off"),
    "paused": Sign("pause", "paused", "warn"),
    "limited": Sign("limit", "limited", "warn"),
    "interrupted": Sign("retry", "interrupted", "off"),
    "crashed": Sign("crash", "crashed", "bad"),
    "running": Sign("play", "running", "busy"),
    "quiet": Sign("pause", "quiet", "warn"),
    "draining": Sign("drain", "draining", "warn"),
    "stopped": Sign("slash", "stopped", "off"),
    "dead": Sign("cross", "dead", "bad"),
    "waiting": Sign("circle", "waiting", "idle"),
    "stopping": Sign("drain", "stopping", "warn"),
    "completed": Sign("check", "completed", "good"),
    "forbidden": Sign("lock", "forbidden", "bad"),
    "failed": Sign("cross", "failed", "bad"),
    "skipped": Sign("slash", "skipped", "off"),
}


def sign_of(state: str) -> Sign:
    """The icon, word and color for a state. An unknown state, which only a newer release defines,
    gets neutral ones.
    """
    return SIGNS.get(state) or Sign("circle", state, "off")
