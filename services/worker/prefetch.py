"""How many tasks to claim ahead of the threads. Pure."""

#: Claims ahead are worth at most this much work at the present rate …
AHEAD_S = 0.020
#: … and none while a running task has lasted this long: others would wait behind it in the wrong process.
LONG_TASK_S = 0.100
#: Most claims that one process holds; a death puts no more than this into doubt.
MAX_HELD = 128


def wanted(*, threads: int, busy: int, waiting: int, held: int, rate: float, longest_s: float) -> int:
    """How many ids to fetch now; 0 while more than half of the ahead-claims are left.

    `rate` is tasks ended per second; `held` also counts those whose outcome is not acknowledged yet.
    """
    ahead = 0 if longest_s >= LONG_TASK_S else min(MAX_HELD - threads, int(rate * AHEAD_S))
    if busy + waiting >= threads and waiting * 2 > ahead:
        return 0
    return max(0, min(threads + ahead - busy - waiting, MAX_HELD - held))
