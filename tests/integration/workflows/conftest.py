"""The crew of a test; what must hold between statements also holds after the last one."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.workflows.crew import Crew
from tests.platform import Platform


@pytest.fixture
async def crew(platform: Platform) -> AsyncIterator[Crew]:
    crew = Crew(platform.database)
    await crew.begin()
    yield crew
    await crew.check()
