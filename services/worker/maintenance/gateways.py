"""The gateways that the platform's own tasks get with `context.gateway`."""

from typing import Any

from services.worker.maintenance import erasing, retention
from shared.settings import Settings


def build(settings: Settings) -> dict[type, Any]:
    """Create one gateway of each class for this worker process."""
    return {**retention.gateways(settings), **erasing.gateways(settings)}
