"""Quantiles from histograms, as Prometheus estimates them."""

from collections.abc import Sequence


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float, *, largest: float) -> float | None:
    """The value below which this share of the observations is, on a line through its bucket.

    `counts` has one bucket more than `bounds`; that one ends at `largest`. None without observations.
    """
    rank, below, low = share * sum(counts), 0, 0.0
    if not sum(counts):
        return None
    for high, count in zip((*bounds, largest), counts, strict=True):
        if count and below + count >= rank:
            return min(largest, low + (high - low) * (rank - below) / count)
        below, low = below + count, high
    return largest
