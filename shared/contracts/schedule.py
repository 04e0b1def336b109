"""Schedules declared in code: they submit tasks and workflows by the clock on every installation.

Plain values, so that a worker needs no scheduler's library; `shared.schedules.timetable` reads them. A
contract declares a `Schedule`; a workflow has a `shared.workflows.scheduled.WorkflowSchedule`.
"""

import re
from dataclasses import dataclass

import msgspec

NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When a schedule fires, and what happens to times that are missed."""

    #: Unique among all schedules; begin it with the name of what it submits.
    name: str
    #: cron, interval or once; `expression` reads accordingly (see `shared.schedules.timetable.Kind`).
    kind: str
    expression: str
    time_zone: str = "UTC"
    #: Each firing is sent up to this much later than its nominal time.
    jitter_s: float = 0
    #: skip, once or all (see `shared.schedules.timetable.Misfire`).
    misfire: str = "once"
    misfire_grace_s: float = 60
    #: What was missed for longer than this is given up.
    catch_up_s: float = 3_600
    #: allow; skip: a firing is left out while what an earlier one submitted has not ended.
    overlap: str = "allow"
    #: None: the contract's.
    priority: int | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"schedule name {self.name!r} must be lower case words joined by dots")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Times):
    """Submits one task per nominal time. The scheduler brings the ledger in line with it when it leads."""

    params: msgspec.Struct
