"""Helper for tests: reads the metrics of this process as Prometheus would."""

from prometheus_client import REGISTRY


def value(name: str, **labels: str) -> float:
    """The value of a time series with this name and these labels; 0 if there is none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
