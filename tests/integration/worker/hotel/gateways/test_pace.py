"""Tests that the rate of requests to a provider is limited over all workers, through Redis."""

from pathlib import Path

from services.worker.hotel.gateways.provider import Pace
from shared.transport.connection import connect
from tests.eventually import eventually
from tests.own_valkey import serving, watched_pair


async def test_the_count_follows_a_sentinel_through_a_failover(tmp_path: Path) -> None:
    async with serving(tmp_path / "valkey") as server, watched_pair(server, tmp_path) as watched:
        pace, client = Pace(watched.url), connect(watched.url)

        async def reaches_the_primary() -> bool:
            await pace.wait("somebody", "90/second")
            return bool(await client.keys("often:pace:*"))

        try:
            await eventually(reaches_the_primary)
            await watched.fail_over()
            await client.flushdb()
            await eventually(reaches_the_primary)
        finally:
            await pace.close()
            await client.aclose()
