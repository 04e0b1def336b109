"""Exports whether schedules fire in time, and whether what they submit succeeds.

This is a service of its own because it watches the timetable.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prometheus_client import Metric

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement
from shared.telemetry import metrics
from shared.telemetry.metrics import gauge

EVERY_S = 5.0
#: Firings of a schedule that are judged, the newest ones.
FIRINGS = 10
#: Nominal times that are searched for them. Times that were left out because an earlier task still ran say
#: nothing.
TIMES = 1_000

NEXT_TIMES = Statement("""
    SELECT name, extract(epoch FROM next_fire_time)::float8 AS next,
        greatest(0, extract(epoch FROM clock_timestamp() - next_fire_time))::float8 AS overdue_s
    FROM schedule WHERE next_fire_time IS NOT NULL
""")
#: Newest first, by the primary key.
NEWEST = Statement("""
    SELECT s.name, f.outcome, coalesce(f.task_id, f.workflow_id) AS submitted
    FROM schedule AS s CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT fire_time, outcome, task_id, workflow_id FROM schedule_firing
            WHERE schedule = s.name ORDER BY fire_time DESC LIMIT :times
        ) AS times
        WHERE outcome IN ('submitted', 'failed') ORDER BY fire_time DESC LIMIT :firings
    ) AS f
    WHERE s.next_fire_time IS NOT NULL
    ORDER BY s.name, f.fire_time DESC
""")
ENDED = Statement("""
    SELECT id, status, extract(epoch FROM completed_at)::float8 AS at FROM task
    WHERE id = ANY(:id::uuid[]) AND (completed_at IS NOT NULL) IS TRUE
    UNION ALL
    SELECT id, status, extract(epoch FROM completed_at)::float8 AS at FROM workflow
    WHERE id = ANY(:id::uuid[]) AND completed_at IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Record:
    """How a schedule's newest firings ended."""

    #: End of what the newest successful firing submitted, in seconds since 1970; None when none succeeded.
    succeeded_at: float | None
    #: Firings since then that failed for good.
    failures: int


def record(firings: Sequence[Mapping[str, Any]], ended: Mapping[UUID, Mapping[str, Any]]) -> Record:
    """Judge firings, newest first. What has not ended or was canceled says nothing."""
    failures = 0
    for firing in firings:
        work = ended.get(firing["submitted"])
        if work is not None and work["status"] == Status.SUCCESS:
            return Record(work["at"], failures)
        failures += firing["outcome"] == "failed" or (work is not None and work["status"] == Status.FAILURE)
    return Record(None, failures)


class ScheduleGauges:
    """One of the leader's services."""

    def __init__(self, database: Database, gauges: LeaderGauges) -> None:
        self._database = database
        self._gauges = gauges

    async def run_once(self) -> bool:
        times = {(row["name"],): row for row in await self._database.run(NEXT_TIMES)}
        for (name,) in times:
            metrics.expect_firings(name)
        records = {(name,): found for name, found in (await self._records()).items()}
        succeeded = {key: r.succeeded_at for key, r in records.items() if r.succeeded_at is not None}
        self._gauges.publish(
            "schedules",
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
                f"When what the last successful firing submitted ended; looked for in the last {FIRINGS}.",
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
        for row in await self._database.run(NEWEST, times=TIMES, firings=FIRINGS):
            firings[row["name"]].append(row)
        ids = sorted({row["submitted"] for rows in firings.values() for row in rows if row["submitted"]})
        ended = {row["id"]: row for row in await self._database.run(ENDED, id=ids)} if ids else {}
        return {name: record(rows, ended) for name, rows in firings.items()}


def _by_schedule(name: str, documentation: str, values: Mapping[tuple[str], float]) -> Metric:
    return gauge(name, documentation, ("schedule",), values)
