"""Postgres goes back in time: a backup is restored beside a newer Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from shared.contracts.contract import HIGHEST_PRIORITY
from shared.ledger.lifecycle import FINAL
from shared.submission import NewTask
from tests.drill import load
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.network import Network
from tests.own_postgres import Running, copied, migrated, restored, serving, settle
from tests.sample_tasks import INSTANT, Nothing

#: The leading scheduler notices the restore in its first round and then sends 5,000 tasks per round.
PROMISED_S = 5.0
#: Time between the backup and the restore. Workers and scheduler go on, so Redis becomes newer.
LATER_S = 5.0
DATABASE = "drill"
#: Submitted just before the backup, so that workers run them between the backup and the restore. Without the
#: resender's note the check of lanes finds them too, but only 30 s after they were sent.
URGENT = [NewTask(contract=INSTANT, params=Nothing(), priority=HIGHEST_PRIORITY)] * 1_500

ENDED = "SELECT id, clock_timestamp() AS now FROM task WHERE status = ANY($1::text[])"
#: Counts the tasks of $1 that are not ended in the backup. $2 is a moment between backup and restore.
UNDONE = """
    SELECT count(*) FROM task WHERE id = ANY($1::uuid[]) AND (completed_at <= $2) IS NOT TRUE
"""


@dataclass(frozen=True, kw_only=True)
class Restorable(Network):
    """A server of the scenario's own, because a restore takes back all databases of a server."""

    running: Running
    #: Where the backup goes.
    backup: Path


@asynccontextmanager
async def restorable(_: str, redis_url: str, folder: Path) -> AsyncIterator[Restorable]:
    server = settle(folder / "server")
    async with serving(server, durable=True) as running:
        url = migrated(server, DATABASE)
        yield Restorable(
            database_url=url, redis_url=redis_url, own_url=url, running=running, backup=folder / "backup"
        )


@fault(
    "a backup of Postgres is restored beside a newer Redis",
    promised_s=PROMISED_S,
    deaths=True,
    network=restorable,
)
async def restore_postgres(crew: Crew) -> str:
    network = crew.network
    assert isinstance(network, Restorable)
    # The restore loses every task accepted after the backup, so no task is submitted in between.
    async with crew.no_submissions():
        await load.submit_once(crew, URGENT)
        await crew.platform.submitter.mark()
        backup = await asyncio.to_thread(copied, network.running.server, network.backup, standby=False)
        await asyncio.sleep(LATER_S)
        ended, moment = await _ended(crew)
        await crew.closing.enter_async_context(restored(network.running, backup, durable=True))
        undone = await _undone(crew, ended, moment)
    assert undone, "no task ended between the backup and the restore"
    return f"{undone} tasks ended after the backup and ran again"


async def _ended(crew: Crew) -> tuple[list[UUID], datetime]:
    async with crew.database.connected() as connection:
        rows = await connection.fetch(ENDED, list(FINAL))
    return [row["id"] for row in rows], rows[0]["now"]


async def _undone(crew: Crew, ended: list[UUID], moment: datetime) -> int:
    async with crew.database.connected() as connection:
        return int(await connection.fetchval(UNDONE, ended, moment))


FAULTS = (restore_postgres,)
