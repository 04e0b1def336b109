"""A platform of real processes for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.platform import Platform


@pytest.fixture
async def platform(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    async with Platform(database_url, redis_url, tmp_path) as started:
        yield started
