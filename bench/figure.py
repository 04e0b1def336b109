"""A figure of the benchmark table: the ratio of two values that were measured in the same run, once
per round.
"""

import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.stage import Stage


@dataclass(frozen=True)
class Figure:
    """The description of one figure of the benchmark table: its name and its required ratio.

    A figure that is a plain duration, without a second side to compare with, has rounds
    `Round(value, 1)`.
    """

    name: str
    #: Text that describes the two values whose ratio is the figure.
    definition: str
    required: float | None = None
    target: float | None = None
    lower_is_better: bool = False
    #: Whether the better end of the median's confidence interval has to meet `required`, instead of
    #: the median itself. This suits figures whose rounds vary by more than the difference that they
    #: should show.
    by_interval: bool = False

    def met(self, ratio: float) -> bool | None:
        """Whether the ratio meets `required`. None for a figure without a requirement."""
        if self.required is None:
            return None
        return ratio <= self.required if self.lower_is_better else ratio >= self.required


@dataclass(frozen=True)
class Round:
    """The values of both sides of a comparison in one round: this project's and the other one's, in
    the same unit.
    """

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


@dataclass(frozen=True)
class Interval:
    """A confidence interval for the median of a figure's rounds."""

    low: float
    high: float
    #: Probability that the confidence interval contains the true median.
    confidence: float


@dataclass
class Measured:
    """A figure and the values of all its rounds."""

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


#: A function that measures some figures on the given servers, in the given number of rounds. The
#: two sides of a comparison alternate within each round.
Measure = Callable[[Stage, int], Awaitable[Sequence[Measured]]]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, which is defined in a module of `bench.figures`; `make bench ONLY=…` selects it
    by its name.
    """

    name: str
    measure: Measure
    #: Number of rounds of a benchmark. A median that the documentation quotes has at least five.
    #: Benchmarks that take minutes have no more than five.
    rounds: int = 5


def interval_of_median(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """A confidence interval for the true median: the narrowest pair of sorted values that contains
    it with this probability.

    The values must be independent, but may have any distribution. Each value is below the true
    median with a probability of 1/2, so the binomial distribution gives the confidence. Of nine
    values, the interval is from the second to the eighth (96 %). Of five values or fewer, it is
    from the smallest to the largest, with less than 95 % confidence.
    """
    ordered, count = sorted(values), len(values)
    rank, outside = 0, 2 * 0.5**count
    while (wider := outside + 2 * math.comb(count, rank + 1) * 0.5**count) <= 1 - confidence:
        rank, outside = rank + 1, wider
    return Interval(ordered[rank], ordered[-1 - rank], 1 - outside)


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile of the values, of which there must be at least two."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
