"""Statistics of tasks: from what processes have added up, never by counting the table of tasks.

What waits and what runs is counted by the indexes of the places, up to a bound.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.api.identity.rights import Reach, Reader
from services.api.reads import Reads
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.quantile import quantile
from services.api.tasks.statistics_schemas import (
    Count,
    Kinds,
    KindStatistics,
    Point,
    QueueWaits,
    Series,
    TaskSummary,
    WaitingKind,
    Waits,
)
from services.api.tasks.task_list import TaskFilter
from shared.ledger.lifecycle import Status
from shared.ledger.rollup import summed
from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S
from shared.telemetry.metrics import RUN_BUCKETS, WAIT_BUCKETS

#: Tasks that the summary shows, and the days that it covers.
RECENT, DAYS = 5, 30
#: At most this many tasks of a place, or of a user, are counted.
BOUND = 10_000
#: Time for one statement.
LIMIT_S = 0.4
#: Steps of a series, in minutes, and how many of them it may have. Older days are known by the hour.
STEPS, MAX_POINTS, BY_MINUTE_H = (1, 5, 10, 30, 60, 360, 1440, 10080), 180, 48

_OF_MINUTES = "SELECT m.* FROM task_minute AS m WHERE minute >= :since"
_OF_HOURS = "SELECT h.* FROM task_hour AS h WHERE hour >= :since"
_ROWS = f"({_OF_MINUTES} UNION ALL {_OF_HOURS}) AS r"
_SUMS = """
    coalesce(sum(n) FILTER (WHERE outcome = 'success'), 0)::bigint AS success,
    coalesce(sum(n) FILTER (WHERE outcome = 'failure'), 0)::bigint AS failure,
    coalesce(sum(n) FILTER (WHERE outcome = 'revoked'), 0)::bigint AS revoked,
    coalesce(sum(n) FILTER (WHERE outcome = 'retry'), 0)::bigint AS retry,
    sum(wait_s) AS wait_s, sum(run_s) AS run_s
"""
_HISTOGRAMS = f"{summed('wait_hist')} AS wait_hist, {summed('run_hist')} AS run_hist"

ENDED = Statement(f"SELECT outcome, sum(n)::bigint AS n FROM {_ROWS} GROUP BY outcome")
SERIES = Statement(f"""
    SELECT date_bin(make_interval(mins => :step), minute, 'epoch') AS at, {_SUMS}, {_HISTOGRAMS} FROM {_ROWS}
    WHERE (:queue::text IS NULL OR queue = :queue) AND (:name::text IS NULL OR name = :name)
    GROUP BY 1 ORDER BY 1
""")
KINDS = Statement(f"""
    SELECT queue, name, max(max_run_s) AS max_run_s, {_SUMS}, {_HISTOGRAMS} FROM {_ROWS}
    GROUP BY queue, name ORDER BY queue, name
""")
QUEUES = Statement(f"""
    SELECT queue, sum(wait_s) AS wait_s, {_HISTOGRAMS} FROM {_ROWS} GROUP BY queue ORDER BY queue
""")
_PUSHED = f"now() + interval '{PUSH_NET_S} s'"
#: Tasks by place, at most `bound` of each: in a lane or due, later, held and not started, started. What was
#: stored a moment ago is being pushed.
PLACES = Statement(f"""
    SELECT place, queue, name, count(*)::int AS n FROM (
        (SELECT 'waiting' AS place, queue, name FROM task WHERE sent_at IS NOT NULL LIMIT :bound)
        UNION ALL
        (SELECT 'waiting', queue, name FROM task WHERE send_at <= {_PUSHED} LIMIT :bound)
        UNION ALL
        (SELECT 'later', queue, name FROM task WHERE send_at > {_PUSHED} LIMIT :bound)
        UNION ALL
        (SELECT CASE status WHEN 'started' THEN 'running' ELSE 'held' END, queue, name FROM task
         WHERE holder IS NOT NULL LIMIT :bound)
    ) AS t GROUP BY place, queue, name ORDER BY queue, name
""")
#: The newest of an account.
OWN = Statement("""
    SELECT status, count(*)::int AS n FROM (
        SELECT status FROM task WHERE owner = :owner ORDER BY id DESC LIMIT :bound
    ) AS t GROUP BY status
""")

Row = Mapping[str, Any]


class StatisticsView:
    """Reads statistics for the API. Each method raises ReadTooSlow."""

    def __init__(self, reads: Reads, ledger: LedgerView) -> None:
        self._reads = reads
        self._ledger = ledger

    async def summary(self, reader: Reader) -> TaskSummary:
        """Counts of what the reader may see, and the newest of it."""
        if reader.reach is Reach.ALL:
            since: datetime | None = _since(24 * DAYS)
            counts, exact = await self._all(since)
        else:
            since = None
            rows = await self._reads.run_within(LIMIT_S, OWN, owner=reader.id, bound=BOUND + 1)
            counts = {row["status"]: row["n"] for row in rows}
            exact = sum(counts.values()) <= BOUND
        recent = await self._ledger.page(reader, TaskFilter(), limit=RECENT, cursor=None)
        done, failed = counts.get(Status.SUCCESS, 0), counts.get(Status.FAILURE, 0)
        return TaskSummary(
            total_tasks=sum(counts.values()),
            pending_tasks=counts.get(Status.PENDING, 0) + counts.get(Status.RETRY, 0),
            running_tasks=counts.get(Status.STARTED, 0),
            completed_tasks=done,
            failed_tasks=failed,
            revoked_tasks=counts.get(Status.REVOKED, 0),
            success_rate=round(100 * done / (done + failed), 2) if done + failed else 0.0,
            recent_tasks=recent.items,
            exact=exact,
            since=since,
        )

    async def series(self, hours: int, queue: str | None, name: str | None) -> Series:
        """What ended in the last hours, step by step."""
        since, step = _since(hours), _step(hours)
        values = {"since": since, "step": step, "queue": queue, "name": name}
        rows = await self._reads.run_within(LIMIT_S, SERIES, **values)
        return Series(since, 60 * step, [_point(row, 60 * step) for row in rows])

    async def kinds(self, hours: int) -> Kinds:
        """What ended in the last hours, by kind of task."""
        since = _since(hours)
        rows = await self._reads.run_within(LIMIT_S, KINDS, since=since)
        return Kinds(since, [_kind(row) for row in rows])

    async def waits(self, hours: int) -> Waits:
        """What waits now, and how long tasks waited in the last hours."""
        since = _since(hours)
        places = await self._reads.run_within(LIMIT_S, PLACES, bound=BOUND + 1)
        queues = await self._reads.run_within(LIMIT_S, QUEUES, since=since)
        return Waits(
            since=since,
            waiting=_count(places, "waiting"),
            later=_count(places, "later"),
            held=_count(places, "held", "running"),
            kinds=_waiting_kinds(places),
            queues=[_queue(row) for row in queues],
        )

    async def _all(self, since: datetime | None) -> tuple[dict[str, int], bool]:
        """Counts by status, and whether none of them is larger than that."""
        ended = await self._reads.run_within(LIMIT_S, ENDED, since=since)
        places = await self._reads.run_within(LIMIT_S, PLACES, bound=BOUND + 1)
        counts = {row["outcome"]: row["n"] for row in ended if row["outcome"] != Status.RETRY}
        counts[Status.PENDING] = sum(_count(places, place).count for place in ("waiting", "later", "held"))
        counts[Status.STARTED] = _count(places, "running").count
        bounded = [_count(places, "waiting"), _count(places, "later"), _count(places, "held", "running")]
        return counts, all(each.exact for each in bounded)


def _since(hours: int) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def _step(hours: int) -> int:
    """The smallest step, in minutes, that is kept for `hours` and gives a readable number of points."""
    fits = [step for step in STEPS if 60 * hours <= step * MAX_POINTS]
    return next((step for step in fits if hours <= BY_MINUTE_H or step >= 60), STEPS[-1])


def _count(places: Iterable[Row], *wanted: str) -> Count:
    found = sum(row["n"] for row in places if row["place"] in wanted)
    return Count(min(found, BOUND), exact=found <= BOUND)


def _waiting_kinds(places: Iterable[Row]) -> list[WaitingKind]:
    kinds: dict[tuple[str, str], WaitingKind] = {}
    for row in places:
        if row["place"] in ("waiting", "later"):
            new = WaitingKind(row["name"], _type(row["name"]), row["queue"], 0, 0)
            kind = kinds.setdefault((row["queue"], row["name"]), new)
            setattr(kind, row["place"], getattr(kind, row["place"]) + row["n"])
    return list(kinds.values())


def _point(row: Row, step_s: int) -> Point:
    ended = row["success"] + row["failure"] + row["revoked"]
    return Point(
        at=row["at"],
        **{outcome: row[outcome] for outcome in ("success", "failure", "revoked", "retry")},
        ended_per_s=round(ended / step_s, 4),
        mean_wait_s=_mean(row["wait_s"], row["wait_hist"]),
        mean_run_s=_mean(row["run_s"], row["run_hist"]),
    )


def _kind(row: Row) -> KindStatistics:
    waits, runs, longest = row["wait_hist"], row["run_hist"], row["max_run_s"]
    return KindStatistics(
        name=row["name"],
        type=_type(row["name"]),
        queue=row["queue"],
        **{outcome: row[outcome] for outcome in ("success", "failure", "revoked", "retry")},
        mean_wait_s=_mean(row["wait_s"], waits),
        wait_p50_s=_wait(waits, 0.5),
        wait_p95_s=_wait(waits, 0.95),
        mean_run_s=_mean(row["run_s"], runs),
        run_p50_s=quantile(RUN_BUCKETS, runs, 0.5, largest=longest),
        run_p95_s=quantile(RUN_BUCKETS, runs, 0.95, largest=longest),
        run_p99_s=quantile(RUN_BUCKETS, runs, 0.99, largest=longest),
        max_run_s=longest if sum(runs) else None,
    )


def _queue(row: Row) -> QueueWaits:
    waits = row["wait_hist"]
    return QueueWaits(
        queue=row["queue"],
        started=sum(waits),
        mean_wait_s=_mean(row["wait_s"], waits),
        wait_p50_s=_wait(waits, 0.5),
        wait_p95_s=_wait(waits, 0.95),
    )


def _wait(counts: list[int], share: float) -> float | None:
    """Waits have no maximum: beyond the last bound nothing is known."""
    return quantile(WAIT_BUCKETS, counts, share, largest=WAIT_BUCKETS[-1])


def _mean(total_s: float, counts: list[int]) -> float | None:
    return total_s / sum(counts) if sum(counts) else None


def _type(name: str) -> str:
    return name.partition(".")[0]
