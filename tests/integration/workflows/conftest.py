"""A fixture with the simulated workers of a test.

After the test, it checks the ledger once more.
"""

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
