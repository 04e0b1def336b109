"""Values of this process' metrics, as Prometheus would read them."""

from prometheus_client import REGISTRY


def value(name: str, **labels: str) -> float:
    """Zero for a series that does not exist."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
