"""Postgres moves to another server: the primary falls silent, and its standby is promoted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.roles import OWNER
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.network import Network
from tests.eventually import eventually
from tests.own_postgres import STANDBY_NAME, Running, ask, copied, migrated, serving, settle, url_of
from tests.roles import as_role

#: A statement meets its limit of 5 s and the silent host is asked for 2 s; then the rescuer and the scheduler
#: wait for one lease before they judge.
PROMISED_S = 20.0
#: Time from the silence to the promotion of the standby.
PROMOTED_AFTER_S = 5.0
#: Every commit waits for two disks, so what is in flight takes longer.
SETTLE_S = 90.0
DATABASE = "drill"


@dataclass(frozen=True, kw_only=True)
class Replicated(Network):
    """A primary and its standby, both named in DATABASE_URL."""

    primary: Running
    standby: Running


@asynccontextmanager
async def with_standby(_: str, redis_url: str, folder: Path) -> AsyncIterator[Replicated]:
    """Replication is synchronous: an asynchronous standby may lack what was acknowledged last."""
    server = settle(folder / "primary")
    async with serving(server, durable=True) as primary:
        migrated(server, DATABASE)
        copy = copied(server, folder / "standby", standby=True)
        async with serving(copy, durable=True) as standby:
            ask(server, f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY_NAME}'")
            ask(server, "SELECT pg_reload_conf()")
            await eventually(lambda: ask(server, "SELECT sync_state FROM pg_stat_replication") == "sync")
            url = as_role(url_of([server, copy], DATABASE), OWNER)
            yield Replicated(
                database_url=url, redis_url=redis_url, own_url=url, primary=primary, standby=standby
            )


@fault(
    "the primary of Postgres falls silent, its standby is promoted",
    promised_s=PROMISED_S,
    deaths=True,
    settle_s=SETTLE_S,
    network=with_standby,
)
async def postgres_failover(crew: Crew) -> None:
    network = crew.network
    assert isinstance(network, Replicated)
    crew.closing.enter_context(network.primary.frozen())  # it stays silent until the scenario is over
    await asyncio.sleep(PROMOTED_AFTER_S)
    await asyncio.to_thread(ask, network.standby.server, "SELECT pg_promote()")


FAULTS = (postgres_failover,)
