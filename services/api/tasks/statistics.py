"""Statistics of tasks for the API.

Ended tasks are not counted in the table `task`: each process stores sums per minute, and these are
added up here. Waiting and running tasks are counted with indexes, up to a maximum.
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
from shared.ledger import tally
from shared.ledger.lifecycle import Status
from shared.ledger.rollup import RUN_BUCKETS, SUMMED_UNTIL, WAIT_BUCKETS, summed
from shared.ledger.statement import Statement
from shared.ledger.task_filter import TaskFilter
from shared.ledger.transitions.submit import PUSH_NET_S

#: Number of recent tasks that the summary lists, and number of days whose ended tasks it counts.
RECENT, DAYS = 5, 30
#: Maximum number of tasks that are counted in one state, or for one user.
BOUND = 10_000
#: Time limit of one statement, in seconds.
LIMIT_S = 0.4
#: Possible step lengths of a time series in minutes, the maximum number of its points, and the
#: number of hours over which a time series may have steps shorter than an hour.
STEPS, MAX_POINTS, BY_MINUTE_H = (1, 5, 10, 30, 60, 360, 1440, 10080), 180, 48

_MINUTES = "(SELECT * FROM task_minute WHERE minute >= :since) AS r"
#: All sums since a time: of whole hours, of the minutes before the first whole hour, and of those
#: after the last hour that was summed.
_ROWS = f"""(
    SELECT h.* FROM task_hour AS h WHERE hour >= :since
    UNION ALL
    SELECT m.* FROM task_minute AS m
    WHERE minute >= :since AND minute < :first_hour AND minute < {SUMMED_UNTIL}
    UNION ALL
    SELECT m.* FROM task_minute AS m WHERE minute >= :since AND minute >= {SUMMED_UNTIL}
) AS r (minute)"""
_SUMS = """
    coalesce(sum(n) FILTER (WHERE outcome = 'success'), 0)::bigint AS success,
    coalesce(sum(n) FILTER (WHERE outcome = 'failure'), 0)::bigint AS failure,
    coalesce(sum(n) FILTER (WHERE outcome = 'revoked'), 0)::bigint AS revoked,
    coalesce(sum(n) FILTER (WHERE outcome = 'retry'), 0)::bigint AS retry,
    sum(wait_s) AS wait_s, sum(run_s) AS run_s, sum(waited)::bigint AS waited, sum(ran)::bigint AS ran
"""
_HISTOGRAMS = f"{summed('wait_hist')} AS wait_hist, {summed('run_hist')} AS run_hist"

ENDED = Statement(f"SELECT outcome, sum(n)::bigint AS n FROM {_ROWS} GROUP BY outcome")
_SERIES = f"""
    SELECT date_bin(:step::interval, minute, 'epoch') AS at, {_SUMS} FROM {{rows}}
    WHERE (:queue::text IS NULL OR queue = :queue) AND (:name::text IS NULL OR name = :name)
    GROUP BY 1 ORDER BY 1
"""
#: A time series with steps of whole hours, and one with shorter steps.
SERIES, SHORT_SERIES = Statement(_SERIES.format(rows=_ROWS)), Statement(_SERIES.format(rows=_MINUTES))
KINDS = Statement(f"""
    SELECT queue, name, max(max_run_s) AS max_run_s, {_SUMS}, {_HISTOGRAMS} FROM {_ROWS}
    GROUP BY queue, name ORDER BY queue, name
""")
QUEUES = Statement(f"""
    SELECT queue, sum(wait_s) AS wait_s, sum(waited)::bigint AS waited,
           {summed("wait_hist")} AS wait_hist
    FROM {_ROWS} GROUP BY queue ORDER BY queue
""")
_PUSHED = f"now() + interval '{PUSH_NET_S} s'"
#: Counts the tasks that are waiting (due, or in Redis), delayed, held by a worker but not started,
#: or running; at most `bound` of each. A task that was just stored and whose id is being pushed
#: counts as waiting.
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
#: Counts the newest tasks of an account by status.
OWN = Statement("""
    SELECT status, count(*)::int AS n FROM (
        SELECT status FROM task WHERE owner = :owner ORDER BY id DESC LIMIT :bound
    ) AS t GROUP BY status
""")

#: All steps and hours are counted from this time, as Postgres does.
_EPOCH = datetime.fromtimestamp(0, UTC)

Row = Mapping[str, Any]


class StatisticsView:
    """Reads statistics for the API. Each method may raise ReadTooSlow."""

    def __init__(self, reads: Reads, ledger: LedgerView) -> None:
        self._reads = reads
        self._ledger = ledger

    async def summary(self, reader: Reader) -> TaskSummary:
        """Count the tasks that the reader may see, and list the newest of them."""
        since: datetime | None = None
        if reader.reach is Reach.ALL:
            since = _since(24 * DAYS)
            counts, exact = await self._all(since)
        else:
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
        """Return a time series of the tasks that ended in the last `hours`."""
        step = timedelta(minutes=_step(hours))
        since = _start_of_step(_since(hours), step)
        values = {"step": step, "queue": queue, "name": name}
        if step < timedelta(hours=1):
            rows = await self._reads.run_within(LIMIT_S, SHORT_SERIES, since=since, **values)
        else:
            rows = await self._sums(SERIES, since, **values)
        now = datetime.now(UTC)
        return Series(since, int(step.total_seconds()), [_point(row, step, now) for row in rows])

    async def kinds(self, hours: int) -> Kinds:
        """Return the outcomes and durations of the tasks that ended in the last `hours`, for each
        kind of task.
        """
        since = _since(hours)
        rows = await self._sums(KINDS, since)
        return Kinds(since, [_kind(row) for row in rows])

    async def waits(self, hours: int) -> Waits:
        """Count the tasks that are waiting now, and measure how long tasks waited in the last
        `hours`.
        """
        since = _since(hours)
        places = await self._reads.run_within(LIMIT_S, PLACES, bound=BOUND + 1)
        queues = await self._sums(QUEUES, since)
        return Waits(
            since=since,
            waiting=_count(places, "waiting"),
            later=_count(places, "later"),
            held=_count(places, "held", "running"),
            kinds=_waiting_kinds(places),
            queues=[_queue(row) for row in queues],
        )

    async def _sums(self, statement: Statement, since: datetime, **values: Any) -> list[dict[str, Any]]:
        """Run a statement over all sums since a time."""
        first_hour = since + (_EPOCH - since) % timedelta(hours=1)
        return await self._reads.run_within(LIMIT_S, statement, since=since, first_hour=first_hour, **values)

    async def _all(self, since: datetime) -> tuple[dict[str, int], bool]:
        """Count all tasks by status. The second value is True if the counts are exact."""
        ended = await self._sums(ENDED, since)
        places = await self._reads.run_within(LIMIT_S, PLACES, bound=BOUND + 1)
        counts = {row["outcome"]: row["n"] for row in ended if row["outcome"] != Status.RETRY}
        counts[Status.PENDING] = sum(_count(places, place).count for place in ("waiting", "later", "held"))
        counts[Status.STARTED] = _count(places, "running").count
        bounded = [_count(places, "waiting"), _count(places, "later"), _count(places, "held", "running")]
        return counts, all(each.exact for each in bounded)


def _since(hours: int) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def _step(hours: int) -> int:
    """Choose the step length of a time series over `hours`, in minutes.

    It is the smallest one for which sums are stored and which gives at most MAX_POINTS points.
    """
    fits = [step for step in STEPS if 60 * hours <= step * MAX_POINTS]
    return next((step for step in fits if hours <= BY_MINUTE_H or step >= 60), STEPS[-1])


def _start_of_step(moment: datetime, step: timedelta) -> datetime:
    """Return the start of the time series, moved back so that its first step is complete."""
    return moment - (moment - _EPOCH) % step


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


def _point(row: Row, step: timedelta, now: datetime) -> Point:
    """Build one point of the time series, with the rate of ended tasks in its step.

    The current step has only begun, and its sums may be EVERY_S seconds old. Its length counts as
    at least EVERY_S, because otherwise the computed rate would be too high.
    """
    ended = row["success"] + row["failure"] + row["revoked"]
    seconds = max(tally.EVERY_S, min(step, now - row["at"]).total_seconds())
    return Point(
        at=row["at"],
        **{outcome: row[outcome] for outcome in ("success", "failure", "revoked", "retry")},
        ended_per_s=round(ended / seconds, 4),
        mean_wait_s=_mean(row["wait_s"], row["waited"]),
        mean_run_s=_mean(row["run_s"], row["ran"]),
    )


def _kind(row: Row) -> KindStatistics:
    waits, runs, longest = row["wait_hist"], row["run_hist"], row["max_run_s"]
    return KindStatistics(
        name=row["name"],
        type=_type(row["name"]),
        queue=row["queue"],
        **{outcome: row[outcome] for outcome in ("success", "failure", "revoked", "retry")},
        mean_wait_s=_mean(row["wait_s"], row["waited"]),
        wait_p50_s=_wait(waits, 0.5),
        wait_p95_s=_wait(waits, 0.95),
        mean_run_s=_mean(row["run_s"], row["ran"]),
        run_p50_s=quantile(RUN_BUCKETS, runs, 0.5, largest=longest),
        run_p95_s=quantile(RUN_BUCKETS, runs, 0.95, largest=longest),
        run_p99_s=quantile(RUN_BUCKETS, runs, 0.99, largest=longest),
        max_run_s=longest if row["ran"] else None,
    )


def _queue(row: Row) -> QueueWaits:
    waits = row["wait_hist"]
    return QueueWaits(
        queue=row["queue"],
        started=row["waited"],
        mean_wait_s=_mean(row["wait_s"], row["waited"]),
        wait_p50_s=_wait(waits, 0.5),
        wait_p95_s=_wait(waits, 0.95),
    )


def _wait(counts: list[int], share: float) -> float | None:
    """Estimate a quantile of the time that tasks of one queue waited.

    The histogram has no maximum, so values in its last, open-ended bucket are shown as the last
    bound.
    """
    return quantile(WAIT_BUCKETS, counts, share, largest=WAIT_BUCKETS[-1])


def _mean(total_s: float, count: int) -> float | None:
    return total_s / count if count else None


def _type(name: str) -> str:
    return name.partition(".")[0]
