"""Exports to Prometheus whether schedules fire in time, and whether their tasks succeed.

It is separate from the timetable, the service that fires schedules, so that it can monitor that
service.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from prometheus_client import Metric

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.schedules import firing_record
from shared.schedules.firing import timing_of
from shared.schedules.firing_record import FIRINGS, Success
from shared.telemetry import metrics
from shared.telemetry.metrics import gauge

EVERY_S = 5.0
NEXT_TIMES = Statement("""
    SELECT name, kind, expression, time_zone, jitter_s, catch_up_s, starts_at, next_fire_time,
        extract(epoch FROM next_fire_time)::float8 AS next,
        greatest(0, extract(epoch FROM clock_timestamp() - next_fire_time))::float8 AS overdue_s
    FROM schedule WHERE next_fire_time IS NOT NULL
""")
#: Reads, for each schedule, its first nominal time after a given moment, by the primary key. If the
#: moment is null, it is the schedule's first nominal time.
FIRST_AFTER = Statement("""
    SELECT s.name, extract(epoch FROM clock_timestamp() - f.fire_time)::float8 AS since_s
    FROM unnest(:names::text[], :after::timestamptz[]) AS s(name, after) CROSS JOIN LATERAL (
        SELECT fire_time FROM schedule_firing
        WHERE schedule = s.name AND fire_time > coalesce(s.after, '-infinity')
        ORDER BY fire_time LIMIT 1
    ) AS f
""")


def success_limit_s(schedule: Mapping[str, Any]) -> float | None:
    """Return within how many seconds after a nominal time a success is expected.

    It is the time until the following nominal time, plus the time within which a missed one is
    caught up. Because it is computed from the next two nominal times, it is also right across a
    change to daylight saving time or a long pause in a cron expression. Returns None if the
    schedule has only one more nominal time.
    """
    following = timing_of(schedule).following(schedule["next_fire_time"], start=schedule["starts_at"])
    if following is None:
        return None
    interval: timedelta = following - schedule["next_fire_time"]
    return interval.total_seconds() + float(schedule["catch_up_s"])


class ScheduleGauges:
    """Background service of the leading scheduler that reads the schedules and their latest
    firings.
    """

    def __init__(self, database: Database, gauges: LeaderGauges) -> None:
        self._database = database
        self._gauges = gauges

    async def run_once(self) -> bool:
        times = {(row["name"],): row for row in await self._database.run(NEXT_TIMES)}
        for (name,) in times:
            metrics.expect_firings(name)
        records = await firing_record.records(self._database)
        successes = await firing_record.successes(self._database, records)
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
                "When the task or workflow of the last success ended.",
                {(name,): success.at for name, success in successes.items()},
            ),
            _by_schedule(
                "often_schedule_failures_in_a_row",
                f"Firings that failed permanently since the last success, up to {FIRINGS}.",
                {(name,): records[name].failures if name in records else 0 for (name,) in times},
            ),
            _by_schedule(
                "often_schedule_unsuccessful_seconds",
                "Time since the first nominal time after the last success; 0 if there was none since.",
                dict.fromkeys(times, 0.0) | await self._unsuccessful([name for (name,) in times], successes),
            ),
            _by_schedule(
                "often_schedule_unsuccessful_limit_seconds",
                "How long a schedule may be without success: the time to its next firing and its catch-up.",
                {key: limit for key, row in times.items() if (limit := success_limit_s(row)) is not None},
            ),
        )
        return False

    async def _unsuccessful(
        self, names: Sequence[str], successes: Mapping[str, Success]
    ) -> dict[tuple[str], float]:
        after = [successes[name].nominal if name in successes else None for name in names]
        rows = await self._database.run(FIRST_AFTER, names=names, after=after)
        return {(row["name"],): max(0.0, row["since_s"]) for row in rows}


def _by_schedule(name: str, documentation: str, values: Mapping[tuple[str], float]) -> Metric:
    return gauge(name, documentation, ("schedule",), values)
