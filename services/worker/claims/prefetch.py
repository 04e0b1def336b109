"""How many tasks to claim ahead of the threads. Pure."""

#: Claims ahead are worth at most this much work at the present rate …
AHEAD_S = 0.040
#: … and a task for each thread less while one has run for this long. Should it keep the interpreter, few
#: others end, so that none is left: they would wait in the wrong process, and threads that work them off
#: would keep the ledger loop from running at all.
LONG_TASK_S = 0.100
#: While many ids wait, up to this many claims ahead may be worth this much work. Of many workers on few cores
#: each is slow, and statements over a handful of rows cost several times as much a row.
DEEP_AHEAD, DEEP_AHEAD_S = 64, 0.160
#: Waiting ids from which on the lanes are deep: what one worker takes ahead is missed by no other.
DEEP_IDS = 1_000
#: Most claims that one process holds; a death puts no more than this into doubt.
MAX_HELD = 128


def ahead(*, threads: int, rate: float, longest_s: float, deep: bool = False) -> int:
    """Claims beyond those that have a thread; `rate` is tasks ended per second."""
    worth = int(rate * AHEAD_S)
    if longest_s >= LONG_TASK_S:
        worth -= threads
    elif deep:
        worth = max(worth, min(int(rate * DEEP_AHEAD_S), DEEP_AHEAD))
    return max(0, min(MAX_HELD - threads, worth))


def has_room(*, threads: int, busy: int, waiting: int, ahead: int) -> bool:
    """Whether it is time to fetch: a thread is free, or half of the claims ahead are used up."""
    return busy + waiting < threads or waiting * 2 <= ahead


def wanted(*, threads: int, busy: int, waiting: int, held: int, ahead: int) -> int:
    """How many ids to fetch now; `held` also counts those whose outcome is not acknowledged yet."""
    if not has_room(threads=threads, busy=busy, waiting=waiting, ahead=ahead):
        return 0
    return max(0, min(threads + ahead - busy - waiting, MAX_HELD - held))
