"""Names of all Redis keys of the platform, each defined in one place."""

import functools
from uuid import UUID

PRIORITIES = range(9, -1, -1)

GENERATION_KEY = "often:generation"
SYSTEM_KEY = "often:system"
CHECKED_KEY = "often:checked"


@functools.cache
def lane_key(queue: str, priority: int) -> str:
    """Name of the Redis list for one priority of a queue, called a lane. The result is cached,
    because it is needed for every id.
    """
    return f"often:lane:{queue}:{priority}"


def rescue_key(queue: str) -> str:
    return f"often:lane:{queue}:rescued"


def past_key(queue: str) -> str:
    """Name of the Redis list of task ids that operators let run although their queue is paused.
    These ids are in their lanes as well.
    """
    return f"often:past:{queue}"


def wake_key(queue: str) -> str:
    return f"often:wake:{queue}"


def turn_key(queue: str) -> str:
    """Name of the Redis key for the turn of a queue.

    The key contains the id of a worker that runs a suspect (a task whose earlier worker died), or
    that has stopped fetching in order to run one. See `fetch.lua`.
    """
    return f"often:turn:{queue}"


def spare_key(queue: str) -> str:
    """Name of the Redis key that contains the id of a worker which takes only ordinary tasks, while
    other workers run suspects.
    """
    return f"often:spare:{queue}"


def unacked_key(worker: UUID) -> str:
    return f"often:unacked:{worker.hex}"


def stack_key(question: str) -> str:
    """Name of the Redis key that contains the answer to a `shared.transport.control.ShowStack` for
    a few seconds.
    """
    return f"often:stack:{question}"


@functools.cache
def fetch_keys(queues: tuple[str, ...]) -> list[str]:
    """All keys of these queues, in the order in which `fetch.lua` expects them."""
    return [key for queue in queues for key in _keys_of(queue)]


def _keys_of(queue: str) -> tuple[str, ...]:
    lanes = rescue_key(queue), *(lane_key(queue, priority) for priority in PRIORITIES)
    return *lanes, wake_key(queue), turn_key(queue), spare_key(queue)
