"""Fixtures for tests of gateways (clients of outside services): rate limits, and an address on
which no server listens.
"""

from collections.abc import AsyncIterator

import pytest

from local import ports
from services.worker.hotel.gateways.provider import Pace


@pytest.fixture
def dead_url() -> str:
    """An address on which no server listens."""
    return f"http://{ports.HOST}:{ports.pick('nobody')['nobody']}"


@pytest.fixture
def pace() -> Pace:
    """A rate limit that applies to this process only."""
    return Pace("")


@pytest.fixture
async def shared_paces(redis_url: str) -> AsyncIterator[list[Pace]]:
    """Two rate limits that share their counts through Redis, as in two workers."""
    paces = [Pace(redis_url), Pace(redis_url)]
    yield paces
    for pace in paces:
        await pace.close()
