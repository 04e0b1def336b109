"""Estimates quantiles from histograms, with the same interpolation as Prometheus."""

from collections.abc import Sequence


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float, *, largest: float) -> float | None:
    """Return the value below which the given share of the observations lies.

    The value is interpolated within its bucket. Returns None if there are no observations. `counts`
    has one more bucket than `bounds`, because the last bucket ends at `largest`.
    """
    rank, below, low = share * sum(counts), 0, 0.0
    if not sum(counts):
        return None
    for high, count in zip((*bounds, largest), counts, strict=True):
        if count and below + count >= rank:
            return min(largest, low + (high - low) * (rank - below) / count)
        below, low = below + count, high
    return largest
