"""The health report, which lists the system's current problems."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from services.api.http.schemas import Answer


class Severity(StrEnum):
    """How bad a problem in the health report is. The worst severity comes first."""

    #: Critical: tasks may be lost or are not processed, so an operator must act now.
    CRITICAL = "critical"
    #: Warning: the problem gets worse, or users will notice it, so an operator must act today.
    WARNING = "warning"
    #: Notice: a state that an operator's decision caused, or that is only worth knowing.
    NOTICE = "notice"


class Target(Answer):
    """The object that a problem concerns."""

    #: Kind of the object: server, queue, worker, kind (of task), schedule, error or bulk (a bulk
    #: operation).
    kind: str
    name: str


class Problem(Answer, kw_only=True):
    """One problem in the health report."""

    #: A stable identifier of the kind of problem, on which scripts can branch.
    code: str
    severity: Severity
    sentence: str
    target: Target | None
    since: datetime | None = None
    #: Advice that tells the operator what to do next.
    remedy: str
    #: Path of an API request that shows more about the problem.
    link: str | None = None
    #: The heading of the section in docs/operations.md that describes the problem.
    runbook: str | None = None


class SystemHealth(Answer, kw_only=True):
    """The health report of the whole system."""

    checked_at: datetime
    #: The worst severity: critical, warning or ok.
    verdict: str
    #: The current problems of the system, worst first.
    problems: list[Problem]
    #: State of Postgres and Redis. `answer` is `ok` or describes the problem. Sizes and counts are
    #: present if they could be read.
    servers: dict[str, dict[str, Any]]
    #: Names of the facts that could not be read in time.
    unknown: list[str]
