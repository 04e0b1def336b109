"""What is measured: a ratio of two figures that were taken in the same run, as often as there are rounds."""

import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.stage import Stage


@dataclass(frozen=True)
class Figure:
    """One line of the table. A figure of time is its own ratio: `Round(value, 1)`."""

    name: str
    #: What is divided by what.
    definition: str
    required: float | None = None
    target: float | None = None
    lower_is_better: bool = False
    #: Whether the better end of the interval of the median is compared with `required`, and not the
    #: median: rounds may vary by more than the difference that the figure has to show.
    by_interval: bool = False

    def met(self, ratio: float) -> bool | None:
        """Against `required`; None when the figure is only reported."""
        if self.required is None:
            return None
        return ratio <= self.required if self.lower_is_better else ratio >= self.required


@dataclass(frozen=True)
class Round:
    """Both sides of one round, in the same unit."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


@dataclass(frozen=True)
class Interval:
    """A confidence interval for a median."""

    low: float
    high: float
    #: Probability that it covers the true median.
    confidence: float


@dataclass
class Measured:
    """A figure and its rounds."""

    figure: Figure
    unit: str
    rounds: list[Round] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(r.ratio for r in self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        ratios = [r.ratio for r in self.rounds]
        return min(ratios), max(ratios)

    @property
    def interval(self) -> Interval:
        return interval_of_median([r.ratio for r in self.rounds])

    def median_of(self, side: Literal["ours", "theirs"]) -> float:
        return statistics.median(r.ours if side == "ours" else r.theirs for r in self.rounds)

    @property
    def met(self) -> bool | None:
        if not self.figure.by_interval:
            return self.figure.met(self.ratio)
        return self.figure.met(self.interval.low if self.figure.lower_is_better else self.interval.high)


#: Measures some figures on a stage, in so many rounds. Both sides alternate within each round.
Measure = Callable[[Stage, int], Awaitable[Sequence[Measured]]]


@dataclass(frozen=True)
class Benchmark:
    """A module of `bench.figures`, as `ONLY=…` names it."""

    name: str
    measure: Measure
    #: Medians of at least five rounds are quoted; what takes minutes gets no more.
    rounds: int = 5


def interval_of_median(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The narrowest pair of order statistics that covers the true median with this confidence.

    It assumes independent values, but no distribution. Each value is below the true median with a
    probability of 1/2, so the binomial distribution gives the confidence. Nine values give the
    second and the eighth (96 %). Five or fewer give the smallest and the largest, and less than
    95 %.
    """
    ordered, count = sorted(values), len(values)
    rank, outside = 0, 2 * 0.5**count
    while (wider := outside + 2 * math.comb(count, rank + 1) * 0.5**count) <= 1 - confidence:
        rank, outside = rank + 1, wider
    return Interval(ordered[rank], ordered[-1 - rank], 1 - outside)


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
