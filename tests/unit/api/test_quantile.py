"""Tests of estimating quantiles from histograms."""

import pytest

from services.api.tasks.quantile import quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("counts", "share", "largest", "expected"),
    [
        ([0, 0, 0, 0], 0.5, 0.0, None),
        ([4, 0, 0, 0], 0.5, 1.0, 0.5),
        ([4, 0, 0, 0], 1.0, 0.7, 0.7),
        ([1, 1, 2, 0], 0.75, 3.5, 3.0),
        ([0, 0, 0, 2], 0.5, 10.0, 7.0),
        ([0, 1, 0, 0], 0.0, 2.0, 1.0),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    counts: list[int], share: float, largest: float, expected: float | None
) -> None:
    assert quantile(BOUNDS, counts, share, largest=largest) == expected
