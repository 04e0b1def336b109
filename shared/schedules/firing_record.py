"""Finds out how the newest firings of each schedule ended, for metrics and alerts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement

#: Maximum number of firings per schedule whose results are read, newest first.
FIRINGS = 10
#: Number of newest nominal times per schedule among which its firings are searched. A nominal time
#: that was skipped, because an earlier task was still running, is not a firing.
TIMES = 1_000

#: Reads the newest firings of each active schedule, newest first, using the primary key of
#: `schedule_firing`.
NEWEST = Statement("""
    SELECT s.name, f.fire_time, f.outcome, coalesce(f.task_id, f.workflow_id) AS submitted
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
#: Reads the newest successful firing of each active schedule, except those named in `known`. It
#: uses indexes on successes, so the number of later firings does not affect its speed.
OLDER_SUCCESS = Statement("""
    SELECT s.name, f.fire_time, extract(epoch FROM f.completed_at)::float8 AS at
    FROM schedule AS s CROSS JOIN LATERAL (
        (SELECT fire_time, completed_at FROM task
         WHERE schedule = s.name AND fire_time IS NOT NULL AND completed_at IS NOT NULL
           AND error_kind IS NULL AND status = 'success'
         ORDER BY fire_time DESC LIMIT 1)
        UNION ALL
        (SELECT fire_time, completed_at FROM workflow
         WHERE schedule = s.name AND fire_time IS NOT NULL AND status = 'success'
         ORDER BY fire_time DESC LIMIT 1)
        ORDER BY fire_time DESC LIMIT 1
    ) AS f
    WHERE s.next_fire_time IS NOT NULL AND s.name <> ALL(:known::text[])
""")


@dataclass(frozen=True, slots=True)
class Success:
    """The newest successful firing of a schedule."""

    #: When the task or workflow of the firing ended, in seconds since 1970.
    at: float
    nominal: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """How the newest firings of one schedule ended."""

    #: The newest success. None if none of the examined firings succeeded.
    success: Success | None
    #: Number of firings after the newest success that failed for good.
    failures: int


def record(firings: Sequence[Mapping[str, Any]], ended: Mapping[UUID, Mapping[str, Any]]) -> Record:
    """Summarize the firings of one schedule, given newest first. Firings whose task or workflow has
    not ended, or was canceled, are ignored.
    """
    failures = 0
    for firing in firings:
        work = ended.get(firing["submitted"])
        if work is not None and work["status"] == Status.SUCCESS:
            return Record(Success(work["at"], firing["fire_time"]), failures)
        failures += firing["outcome"] == "failed" or (work is not None and work["status"] == Status.FAILURE)
    return Record(None, failures)


async def records(database: Database) -> dict[str, Record]:
    """Read and summarize the newest firings of each active schedule. Raises ServerUnavailable."""
    firings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in await database.run(NEWEST, times=TIMES, firings=FIRINGS):
        firings[row["name"]].append(row)
    ids = sorted({row["submitted"] for rows in firings.values() for row in rows if row["submitted"]})
    ended = {row["id"]: row for row in await database.run(ENDED, id=ids)} if ids else {}
    return {name: record(rows, ended) for name, rows in firings.items()}


async def successes(database: Database, newest: Mapping[str, Record]) -> dict[str, Success]:
    """Read the last success of each active schedule that has ever succeeded, however many firings
    ago.

    `newest` is the result of `records`. Raises ServerUnavailable.
    """
    found = {name: each.success for name, each in newest.items() if each.success is not None}
    older = await database.run(OLDER_SUCCESS, known=sorted(found))
    return found | {row["name"]: Success(row["at"], row["fire_time"]) for row in older}
