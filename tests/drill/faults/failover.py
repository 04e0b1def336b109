"""A fault of the drill: Postgres fails over. The primary stops answering, and its standby is
promoted.
"""

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

#: Promised seconds of recovery. A statement reaches its limit of 5 s, and connecting to the silent
#: host takes 2 s. Then the rescuer and the scheduler wait for one lease before they declare others
#: dead.
PROMISED_S = 20.0
#: Seconds from the moment at which the primary stops answering to the promotion of the standby.
PROMOTED_AFTER_S = 5.0
#: Seconds within which all tasks must have ended. It is longer than for other faults, because every
#: commit waits for two disks.
SETTLE_S = 90.0
DATABASE = "drill"


@dataclass(frozen=True, kw_only=True)
class Replicated(Network):
    """A network with a Postgres primary and its standby. DATABASE_URL names both."""

    primary: Running
    standby: Running


@asynccontextmanager
async def with_standby(_: str, redis_url: str, folder: Path) -> AsyncIterator[Replicated]:
    """Start the primary and the standby with synchronous replication.

    With asynchronous replication, the standby could lack the last acknowledged writes.
    """
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
    # The old primary stays frozen until the scenario is over.
    crew.closing.enter_context(network.primary.frozen())
    await asyncio.sleep(PROMOTED_AFTER_S)
    await asyncio.to_thread(ask, network.standby.server, "SELECT pg_promote()")


FAULTS = (postgres_failover,)
