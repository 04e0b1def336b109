"""What is measured: a ratio of two figures that were taken in the same run, as often as there are rounds."""

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

    def median_of(self, side: Literal["ours", "theirs"]) -> float:
        return statistics.median(r.ours if side == "ours" else r.theirs for r in self.rounds)

    @property
    def met(self) -> bool | None:
        return self.figure.met(self.ratio)


#: Measures some figures on a stage, in so many rounds. Both sides alternate within each round.
Measure = Callable[[Stage, int], Awaitable[Sequence[Measured]]]


@dataclass(frozen=True)
class Benchmark:
    """A module of `bench.figures`, as `ONLY=…` names it."""

    name: str
    measure: Measure
    #: Medians of at least five rounds are quoted; what takes minutes gets no more.
    rounds: int = 5


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
