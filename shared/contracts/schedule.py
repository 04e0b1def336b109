"""Defines schedules that code declares. They submit tasks and workflows at given times.

The same schedules exist on every installation. They are plain values, so that a worker needs no
scheduler library; `shared.schedules.timetable` computes their times. A contract declares a
`Schedule`. A workflow has a `shared.workflows.scheduled.WorkflowSchedule`.
"""

import re
from dataclasses import dataclass

import msgspec

NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The times at which a schedule fires, and what happens to missed times."""

    #: Name of the schedule, which is unique among all schedules. It begins with the name of the
    #: task or workflow.
    name: str
    #: Kind of the schedule: cron, interval or once. It determines how `expression` is read (see
    #: `shared.schedules.timetable.Kind`).
    kind: str
    expression: str
    time_zone: str = "UTC"
    #: Maximum random delay of a firing after its nominal time, in seconds.
    jitter_s: float = 0
    #: What happens to missed times: skip, once or all (see `shared.schedules.timetable.Misfire`).
    misfire: str = "once"
    misfire_grace_s: float = 60
    #: Number of seconds after which a missed time is no longer made up for.
    catch_up_s: float = 3_600
    #: What happens at a nominal time if the task or workflow of an earlier firing has not ended:
    #: "allow" submits another one, "skip" does not.
    overlap: str = "allow"
    #: Priority of the submitted tasks. None means the priority of their contract.
    priority: int | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"schedule name {self.name!r} must be lower case words joined by dots")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(Times):
    """A schedule that submits one task at each of its times.

    The leading scheduler copies the declaration into the database.
    """

    params: msgspec.Struct
