"""What the platform's own tasks ask for with `context.gateway`."""

from typing import Any

from services.worker.maintenance import erasing, retention
from shared.settings import Settings


def build(settings: Settings) -> dict[type, Any]:
    """One of each per process, by its class."""
    return {**retention.gateways(settings), **erasing.gateways(settings)}
