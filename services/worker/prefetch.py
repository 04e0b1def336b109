"""How many tasks to claim ahead of the threads. Pure."""

#: Claims ahead are worth at most this much work at the present rate …
AHEAD_S = 0.040
#: … and less for each thread whose task has lasted this long, down to none when half of them have: what is
#: claimed would wait behind such tasks in the wrong process.
LONG_TASK_S = 0.100
#: Most claims that one process holds; a death puts no more than this into doubt.
MAX_HELD = 128


def ahead(*, threads: int, rate: float, long: int) -> int:
    """Claims beyond those that have a thread; `rate` is tasks ended per second, `long` tasks that last."""
    if 2 * long >= threads:
        return 0
    return min(MAX_HELD - threads, int(rate * AHEAD_S * (threads - long) / threads))


def has_room(*, threads: int, busy: int, waiting: int, ahead: int) -> bool:
    """Whether it is time to fetch: a thread is free, or half of the claims ahead are used up."""
    return busy + waiting < threads or waiting * 2 <= ahead


def wanted(*, threads: int, busy: int, waiting: int, held: int, ahead: int) -> int:
    """How many ids to fetch now; `held` also counts those whose outcome is not acknowledged yet."""
    if not has_room(threads=threads, busy=busy, waiting=waiting, ahead=ahead):
        return 0
    return max(0, min(threads + ahead - busy - waiting, MAX_HELD - held))
