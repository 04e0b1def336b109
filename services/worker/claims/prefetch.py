"""Decides how many tasks a worker claims ahead, in addition to one per thread.

All functions are pure.
"""

#: The tasks claimed ahead are normally limited to this many seconds of work, at the rate at which
#: the worker currently finishes tasks.
AHEAD_S = 0.040
#: Once a task body has run for this many seconds, fewer tasks are claimed ahead: one less per
#: thread. Such a body may block the interpreter, and few other tasks end meanwhile, so none should
#: wait in this process.
LONG_TASK_S = 0.100
#: Limits that apply while many tasks wait: this number of tasks ahead, and this many seconds of
#: work. They are higher because claiming few rows per statement costs several times as much per
#: row. This matters if many workers share few cores and each one is slow.
DEEP_AHEAD, DEEP_AHEAD_S = 64, 0.160
#: If at least this many tasks wait, the higher limits apply. Other workers then have enough tasks,
#: however many this one claims.
DEEP_IDS = 1_000
#: Maximum number of tasks that one process holds. It limits how many tasks the death of a worker
#: affects.
MAX_HELD = 128


def ahead(*, threads: int, rate: float, longest_s: float, deep: bool = False) -> int:
    """Return how many tasks to claim in addition to one per thread.

    `rate` is the number of tasks per second that end on this worker.
    """
    worth = int(rate * AHEAD_S)
    if longest_s >= LONG_TASK_S:
        worth -= threads
    elif deep:
        worth = max(worth, min(int(rate * DEEP_AHEAD_S), DEEP_AHEAD))
    return max(0, min(MAX_HELD - threads, worth))


def has_room(*, threads: int, busy: int, waiting: int, ahead: int) -> bool:
    """Return True if it is time to fetch.

    That is the case if a thread is free, or if half of the tasks claimed ahead have started.
    """
    return busy + waiting < threads or waiting * 2 <= ahead


def wanted(*, threads: int, busy: int, waiting: int, held: int, ahead: int) -> int:
    """Return how many ids to fetch now.

    `held` includes tasks whose outcome is not acknowledged yet.
    """
    if not has_room(threads=threads, busy=busy, waiting=waiting, ahead=ahead):
        return 0
    return max(0, min(threads + ahead - busy - waiting, MAX_HELD - held))
