"""Names of the keys in Redis, each in one place."""

import functools
from uuid import UUID

PRIORITIES = range(9, -1, -1)

GENERATION_KEY = "often:generation"
SYSTEM_KEY = "often:system"
CHECKED_KEY = "often:checked"


@functools.cache
def lane_key(queue: str, priority: int) -> str:
    """Cached: there are few of them, and one is asked for with each id."""
    return f"often:lane:{queue}:{priority}"


def rescue_key(queue: str) -> str:
    return f"often:lane:{queue}:rescued"


def past_key(queue: str) -> str:
    """Ids that operators let run although their queue is paused. They are in their lanes as well."""
    return f"often:past:{queue}"


def wake_key(queue: str) -> str:
    return f"often:wake:{queue}"


def turn_key(queue: str) -> str:
    """Names the worker that stops for a suspect, or runs one; see `fetch.lua`."""
    return f"often:turn:{queue}"


def spare_key(queue: str) -> str:
    """Names a worker that keeps to ordinary work while others run suspects."""
    return f"often:spare:{queue}"


def unacked_key(worker: UUID) -> str:
    return f"often:unacked:{worker.hex}"


@functools.cache
def fetch_keys(queues: tuple[str, ...]) -> list[str]:
    """The keys of these queues, in the order of `fetch.lua`."""
    return [key for queue in queues for key in _keys_of(queue)]


def _keys_of(queue: str) -> tuple[str, ...]:
    lanes = rescue_key(queue), *(lane_key(queue, priority) for priority in PRIORITIES)
    return *lanes, wake_key(queue), turn_key(queue), spare_key(queue)
