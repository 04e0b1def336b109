"""Tests that a scheduler reports which servers (Postgres, Redis) are up."""

from prometheus_client import REGISTRY

from services.scheduler.servers import Servers
from shared.ledger.database import Database
from shared.transport.queues import Queues, connect
from tests.platform import Platform


def up(server: str) -> float | None:
    return REGISTRY.get_sample_value("often_server_up", {"server": server})


async def test_an_unavailable_server_is_distinguished_from_one_that_answers(platform: Platform) -> None:
    await Servers(platform.database, platform.queues).run_once()
    assert (up("postgres"), up("redis")) == (1, 1)
    nobody = connect("redis://127.0.0.1:1/0")
    await Servers(platform.database, Queues(nobody)).run_once()
    assert (up("postgres"), up("redis")) == (1, 0)
    await nobody.aclose()


async def test_a_server_that_answers_and_refuses_is_up(platform: Platform) -> None:
    mark = "&" if "?" in platform.database_url else "?"
    url = f"{platform.database_url}{mark}options=-c%20default_transaction_read_only%3Don"
    read_only = Database.for_service(url, "test")
    await read_only.open(size=1)
    try:
        servers = Servers(read_only, platform.queues)
        await servers.run_once()
    finally:
        await read_only.close()
    assert servers.answers["postgres"].startswith("refuses")
    assert up("postgres") == 1
