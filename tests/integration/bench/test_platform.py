"""Tests of the platform on which benchmarks run."""

from pathlib import Path

from shared.contracts.system import HEALTH_CHECK, HealthCheck
from tests.platform import Platform


async def test_a_platform_can_be_filled_first_and_used_again_later(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    platform = Platform(database_url, redis_url, tmp_path)
    async with platform:
        (first,) = await platform.submit(HEALTH_CHECK, HealthCheck())
    async with platform:
        (second,) = await platform.submit(HEALTH_CHECK, HealthCheck())
        rescued, lanes = await platform.queues.depths(HEALTH_CHECK.queue)
        assert rescued + sum(lanes.values()) == 2
        assert [row["id"] for row in await platform.tasks([first, second])] == [first, second]
