"""Fixtures for tests that run real processes."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.api_process import Api
from tests.platform import Platform


@pytest.fixture
async def operator(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that is signed in as an operator. Its API process is started for this test."""
    api = Api(platform)
    await api.start()
    client = await api.sign_up("operator")
    yield client
    await client.aclose()
