"""Tells Prometheus whether schedules fire in time, and whether their tasks succeed.

Apart from the timetable, which is what it watches.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prometheus_client import Metric

from services.scheduler.gauges import LeaderGauges
from shared.ledger import engine
from shared.ledger.lifecycle import Status
from shared.telemetry import metrics
from shared.telemetry.metrics import gauge

EVERY_S = 5.0
#: Firings of a schedule that are looked at.
FIRINGS = 10
#: Of so many times; those that were left out because an earlier task still ran say nothing.
TIMES = 1_000

NEXT_TIMES = """
    SELECT name, extract(epoch FROM next_fire_time)::float8 AS next,
        greatest(0, extract(epoch FROM clock_timestamp() - next_fire_time))::float8 AS overdue_s
    FROM schedule WHERE next_fire_time IS NOT NULL
"""
#: Newest first, by the primary key. values: times, firings.
NEWEST = """
    SELECT s.name, f.outcome, f.task_id
    FROM schedule AS s CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT fire_time, outcome, task_id FROM schedule_firing
            WHERE schedule = s.name ORDER BY fire_time DESC LIMIT {}
        ) AS times
        WHERE outcome IN ('submitted', 'failed') ORDER BY fire_time DESC LIMIT {}
    ) AS f
    WHERE s.next_fire_time IS NOT NULL
    ORDER BY s.name, f.fire_time DESC
"""
#: values: id[].
ENDED = """
    SELECT id, status, extract(epoch FROM completed_at)::float8 AS at FROM task
    WHERE id = ANY({}::uuid[]) AND (completed_at IS NOT NULL) IS TRUE
"""


@dataclass(frozen=True, slots=True)
class Record:
    """How a schedule's newest firings ended."""

    #: When the task of the newest successful one ended, seconds since 1970; None: none of them succeeded.
    succeeded_at: float | None
    #: Since then, those that failed for good.
    failures: int


def record(firings: Sequence[Mapping[str, Any]], ended: Mapping[UUID, Mapping[str, Any]]) -> Record:
    """Judge firings, newest first. What has not ended, and what was cancelled, says nothing."""
    failures = 0
    for firing in firings:
        task = ended.get(firing["task_id"])
        if task is not None and task["status"] == Status.SUCCESS:
            return Record(task["at"], failures)
        failures += firing["outcome"] == "failed" or (task is not None and task["status"] == Status.FAILURE)
    return Record(None, failures)


class Punctuality:
    """One of the leader's services."""

    def __init__(self, gauges: LeaderGauges) -> None:
        self._gauges = gauges

    async def run_once(self) -> bool:
        times = {(row["name"],): row for row in await engine.run(NEXT_TIMES)}
        for (name,) in times:
            metrics.expect_firings(name)
        records = {(name,): found for name, found in (await self._records()).items()}
        succeeded = {key: r.succeeded_at for key, r in records.items() if r.succeeded_at is not None}
        self._gauges.tell(
            "punctuality",
            _by_schedule(
                "often_schedule_next_fire_timestamp_seconds",
                "When a schedule fires next.",
                {key: row["next"] for key, row in times.items()},
            ),
            _by_schedule(
                "often_schedule_overdue_seconds",
                "How long ago a schedule should have fired.",
                {key: row["overdue_s"] for key, row in times.items()},
            ),
            _by_schedule(
                "often_schedule_last_success_timestamp_seconds",
                f"When the task of the last firing that succeeded ended; looked for in the last {FIRINGS}.",
                succeeded,
            ),
            _by_schedule(
                "often_schedule_failures_in_a_row",
                f"Firings that failed for good since the last success, up to {FIRINGS}.",
                {key: records[key].failures if key in records else 0 for key in times},
            ),
        )
        return False

    async def _records(self) -> dict[str, Record]:
        firings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in await engine.run(NEWEST, TIMES, FIRINGS):
            firings[row["name"]].append(row)
        ids = sorted({row["task_id"] for rows in firings.values() for row in rows if row["task_id"]})
        ended = {row["id"]: row for row in await engine.run(ENDED, ids)} if ids else {}
        return {name: record(rows, ended) for name, rows in firings.items()}


def _by_schedule(name: str, documentation: str, values: Mapping[tuple[str], float]) -> Metric:
    return gauge(name, documentation, ("schedule",), values)
