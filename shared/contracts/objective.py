"""Defines the objective of a kind of task: how many tasks must succeed, and how soon.

`make rules` generates rules for Prometheus from the objectives. Objectives of the platform itself,
such as how soon a submission is answered, are in `monitoring/prometheus`.
"""

from dataclasses import dataclass
from typing import Literal

#: Upper bounds of the buckets of the histograms of waiting times and durations, in seconds. Each
#: bound is at most 3 times the previous one. An objective may only use these bounds, because a
#: histogram gives the exact share of tasks only at a bound.
BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60),
    *(120, 300, 600, 900, 1800, 3600, 7200, 21600),
)

#: A share of attempts, and the number of seconds within which this share must start or end.
Quantile = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The objective of a kind of task over 30 days.

    The defaults apply to every contract without its own objective.
    """

    #: Share of tasks that must succeed. Refusals by outside services (`OutsideRefusal`) do not
    #: count as failures.
    success: float = 0.995
    #: Share of attempts that must start within a number of seconds after they are due. It must be
    #: equal for all tasks of a queue.
    wait_p: Quantile = (0.99, 60)
    #: Share of attempts that must end within a number of seconds after their start. None means that
    #: nothing is promised about it.
    run_p: Quantile | None = None
    #: "page" if a violation of the objective should wake someone, "ticket" if it can wait until the
    #: morning.
    urgency: Literal["page", "ticket"] = "page"
    #: Expected number of tasks per day, by which the time windows of alerts are chosen. With fewer
    #: than 50 tasks per day, the share of failures means nothing. None if the number is unknown.
    expected_per_day: int | None = None

    def __post_init__(self) -> None:
        quantiles = {"wait_p": self.wait_p} | ({"run_p": self.run_p} if self.run_p else {})
        for name, share in {"success": self.success, **{n: q[0] for n, q in quantiles.items()}}.items():
            if not 0.5 <= share < 1:
                raise ValueError(f"{name} of an objective must be a share from 0.5 to below 1, not {share}")
        for name, (_, seconds) in quantiles.items():
            if seconds not in BOUNDS_S:
                known = ", ".join(f"{bound:g}" for bound in BOUNDS_S)
                raise ValueError(f"{name} of an objective must name one of {known} seconds, not {seconds:g}")
        if self.expected_per_day is not None and self.expected_per_day < 0:
            raise ValueError("expected_per_day of an objective must not be negative")


DEFAULT = Objective()
