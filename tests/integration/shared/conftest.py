"""A Redis as a system sees it."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.transport.queues import Queues, connect


@pytest.fixture
async def queues(redis_url: str) -> AsyncIterator[Queues]:
    """An empty database that belongs to some system."""
    async with connect(redis_url) as client:
        made = Queues(client)
        made.system = uuid4()
        yield made
