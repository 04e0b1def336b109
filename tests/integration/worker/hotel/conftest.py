"""What gateways need: a pace, and an address where nobody listens."""

from collections.abc import AsyncIterator

import pytest

from local import ports
from services.worker.hotel.gateways.provider import Pace


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens."""
    return f"http://{ports.HOST}:{ports.pick('nobody')['nobody']}"


@pytest.fixture
def pace() -> Pace:
    """Of this process only."""
    return Pace("")


@pytest.fixture
async def shared_paces(redis_url: str) -> AsyncIterator[list[Pace]]:
    """As two workers have them."""
    paces = [Pace(redis_url), Pace(redis_url)]
    yield paces
    for pace in paces:
        await pace.close()
