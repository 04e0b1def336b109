"""Fixtures for tests of gateways (clients of outside services): rate limits, an address on
which no server listens, and a gateway to the simulated Stripe.
"""

from collections.abc import AsyncIterator

import pytest

from local import ports
from services.worker.hotel.gateways.provider import Pace
from services.worker.hotel.gateways.stripe import StripeGateway
from tests.integration.worker.hotel.paying import gateway_to_stripe, settings
from tests.sandbox import Sandbox


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


@pytest.fixture
async def stripe(sandbox: Sandbox, pace: Pace) -> AsyncIterator[StripeGateway]:
    """The gateway to the simulated Stripe, with the settings of a worker."""
    gateway = gateway_to_stripe(settings(sandbox), pace)
    yield gateway
    await gateway.close()
