"""Fixtures with a Redis database that belongs to one system (an installation of the platform)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.transport.queues import Queues, connect


@pytest.fixture
async def queues(redis_url: str) -> AsyncIterator[Queues]:
    """Lanes in an empty Redis database that belongs to one system."""
    async with connect(redis_url) as client:
        made = Queues(client)
        made.system = uuid4()
        yield made
