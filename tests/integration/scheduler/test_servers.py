"""Which servers are up, as a scheduler tells it."""

from prometheus_client import REGISTRY

from services.scheduler.servers import Servers
from shared.transport.queues import Queues, connect
from tests.platform import Platform


def up(server: str) -> float | None:
    return REGISTRY.get_sample_value("often_server_up", {"server": server})


async def test_a_server_that_is_away_is_told_apart_from_one_that_answers(platform: Platform) -> None:
    await Servers(platform.database, platform.queues).run_once()
    assert (up("postgres"), up("redis")) == (1, 1)
    nobody = connect("redis://127.0.0.1:1/0")
    await Servers(platform.database, Queues(nobody)).run_once()
    assert (up("postgres"), up("redis")) == (1, 0)
    await nobody.aclose()
